//! What is asked of a throttle: a share and a period.

use std::time::Duration;

/// Members stand still for so many percent of the time, in cycles of about this period.
///
/// A cycle takes longer where the host cannot stop and start members as fast as its shorter half asks for: it
/// is the share that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DutyCycle {
    percent: u8,
    period: Duration,
}

/// No throttle can have this duty cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuty {
    /// It would stop nobody, or everybody for ever.
    #[error("a throttle stops vCPUs for 1 to 99 % of the time, not for {0} %")]
    Percent(u8),
    /// Stopping and starting would take more than what lies between.
    #[error("a throttle's period is 1 ms or longer, not {0:?}")]
    Period(Duration),
}

impl DutyCycle {
    /// The shortest period.
    pub const SHORTEST: Duration = Duration::from_millis(1);
    /// Periods are whole nanoseconds in this many bits; longer ones (two years) are as good as this.
    const PERIOD_BITS: u32 = 56;

    /// Stopped for `percent` of the time (1 to 99), in periods of 1 ms or longer.
    ///
    /// # Errors
    /// Either is out of range.
    pub const fn new(percent: u8, period: Duration) -> Result<Self, InvalidDuty> {
        if percent < 1 || percent > 99 {
            return Err(InvalidDuty::Percent(percent));
        }
        if period.as_nanos() < Self::SHORTEST.as_nanos() {
            return Err(InvalidDuty::Period(period));
        }
        Ok(Self { percent, period })
    }

    /// The share of the time in which members stand still, in percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.percent
    }

    /// The same as a fraction of 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.percent) / 100.0
    }

    /// One stop and one run.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.period
    }

    /// As one word, to be published.
    pub(super) fn to_bits(self) -> u64 {
        let longest = (1 << Self::PERIOD_BITS) - 1;
        let nanos = u64::try_from(self.period.as_nanos()).unwrap_or(longest).min(longest);
        u64::from(self.percent) << Self::PERIOD_BITS | nanos
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        let period = Duration::from_nanos(bits & ((1 << Self::PERIOD_BITS) - 1));
        let [percent, ..] = bits.to_be_bytes();
        Self { percent, period }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_cycle_that_cannot_be_is_refused_with_what_can() {
        let ms = Duration::from_millis;
        for percent in [0, 100, 255] {
            assert_eq!(DutyCycle::new(percent, ms(10)), Err(InvalidDuty::Percent(percent)));
        }
        let short = Duration::from_micros(999);
        assert_eq!(DutyCycle::new(50, short), Err(InvalidDuty::Period(short)));
        assert_eq!(
            InvalidDuty::Percent(0).to_string(),
            "a throttle stops vCPUs for 1 to 99 % of the time, not for 0 %"
        );
    }

    #[test]
    fn it_survives_being_published() {
        for percent in [1, 50, 99] {
            for period in [DutyCycle::SHORTEST, Duration::from_nanos(123_456_789)] {
                let duty = DutyCycle::new(percent, period).unwrap();
                assert_eq!(DutyCycle::from_bits(duty.to_bits()), duty);
            }
        }
        let duty = DutyCycle::from_bits(DutyCycle::new(99, Duration::MAX).unwrap().to_bits());
        assert_eq!((duty.percent(), duty.period() > Duration::from_hours(10_000)), (99, true));
    }
}
