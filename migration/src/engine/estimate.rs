//! When to stop, and how hard to throttle: pure functions of what was measured.

use std::time::Duration;

use crate::memory::PAGE_SIZE;
use crate::wire::Rehearsal;

/// What a migration costs, as far as it was measured so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Costs {
    /// What the link carries: memory, in bytes a second.
    pub(super) bandwidth: f64,
    /// From the request to the VM standing still.
    pub(super) pause: Duration,
    /// Saving the state.
    pub(super) save: Duration,
    /// The length of the state, in bytes.
    pub(super) state_bytes: u64,
    /// A message and its answer.
    pub(super) round_trip: Duration,
    /// What the destination needs between having all and being ready, and to start.
    pub(super) setup: Duration,
}

impl Costs {
    /// Before anything was measured: what small VMs cost.
    pub(super) fn unknown() -> Self {
        Self {
            bandwidth: 0.0,
            pause: Duration::from_micros(100),
            save: Duration::from_micros(200),
            state_bytes: 64 << 10,
            round_trip: Duration::ZERO,
            setup: Duration::from_micros(300),
        }
    }

    /// What the source expects of its pause, and the destination has tried out, in place of constants. A pause of its own the source measures
    /// when there is one.
    pub(super) fn expect(&mut self, pause: Duration, rehearsal: Option<Rehearsal>) {
        self.pause = pause;
        if let Some(Rehearsal { save, setup, state }) = rehearsal {
            self.save = Duration::from_nanos(save);
            self.setup = Duration::from_nanos(setup);
            self.state_bytes = state;
        }
    }

    /// A round has carried so many pages that were not zeros. A few measure the way and back, not the link, which is at least as fast.
    pub(super) fn carried(&mut self, pages: u64, took: Duration) {
        const ENOUGH: u64 = 64;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let bytes = pages.max(1).saturating_mul(PAGE_SIZE as u64) as f64;
        let speed = bytes / took.as_secs_f64().max(1e-9);
        self.bandwidth = if pages < ENOUGH { self.bandwidth.max(speed) } else { speed };
    }

    /// How long the VM would stand still if it were stopped with so many pages left.
    ///
    /// Three round trips: the last round, making ready, the commit.
    pub(super) fn downtime(&self, pages: u64) -> Duration {
        let bytes = pages.saturating_mul(PAGE_SIZE as u64).saturating_add(self.state_bytes);
        self.pause + self.save + self.setup + self.round_trip * 3 + self.transfer(bytes)
    }

    /// How long so many bytes take.
    pub(super) fn transfer(&self, bytes: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = bytes as f64 / self.bandwidth;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 8)
    }
}

/// How hard the guest has to be throttled, in per cent of its time, so that it dirties memory at no more than half the
/// speed of the link. Never less than `now`, and never more than a step above.
pub(super) fn throttle(now: u8, dirty_rate: f64, bandwidth: f64) -> u8 {
    /// The longest step, in per cent: a guest is not stopped dead because of one measurement.
    const STEP: u8 = 20;
    const MAX: u8 = 99;
    let runs = f64::from(100 - now.min(MAX)) / 100.0;
    // What it would dirty if it were not throttled.
    let unthrottled = dirty_rate / runs;
    let wanted = 100.0 * (1.0 - bandwidth / 2.0 / unthrottled);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 99")]
    let wanted = wanted.clamp(0.0, f64::from(MAX)).ceil() as u8;
    wanted.clamp(now, now.saturating_add(STEP).min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn costs() -> Costs {
        Costs {
            bandwidth: 4096.0 * 1000.0,
            pause: 2 * MS,
            save: 3 * MS,
            state_bytes: 4096,
            round_trip: MS,
            setup: 5 * MS,
        }
    }

    #[test]
    fn downtime_counts_everything_that_happens_in_it() {
        let parts = [2, 3, 5, 3, 1, 10].iter().sum::<u32>();
        assert_eq!(costs().downtime(10), parts * MS);
        let base = costs().downtime(10);
        let slower = [
            Costs { pause: 3 * MS, ..costs() },
            Costs { save: 4 * MS, ..costs() },
            Costs { setup: 6 * MS, ..costs() },
            Costs { state_bytes: 2 * 4096, ..costs() },
        ];
        for costs in slower {
            assert_eq!(costs.downtime(10), base + MS);
        }
        assert_eq!(Costs { round_trip: 2 * MS, ..costs() }.downtime(10), base + 3 * MS);
    }

    #[test]
    fn what_was_tried_out_takes_the_place_of_constants() {
        let mut costs = Costs { bandwidth: 4096.0 * 1000.0, ..Costs::unknown() };
        costs.expect(2 * MS, Some(Rehearsal { save: 3_000_000, setup: 5_000_000, state: 4096 }));
        assert_eq!(costs, Costs { round_trip: Duration::ZERO, ..self::costs() });
        costs.expect(MS, None);
        assert_eq!(costs, Costs { pause: MS, round_trip: Duration::ZERO, ..self::costs() });
        // Whatever the other end says.
        costs.expect(MS, Some(Rehearsal { save: u64::MAX, setup: u64::MAX, state: u64::MAX }));
        assert!(costs.downtime(u64::MAX) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn the_link_is_as_fast_as_many_pages_were_and_no_slower_than_a_few() {
        let mut costs = Costs::unknown();
        let speed = |costs: &Costs| costs.transfer(1000 * 4096).as_millis();
        costs.carried(1000, 1000 * MS);
        assert_eq!(speed(&costs), 1000);
        costs.carried(5, 100 * MS);
        assert_eq!(speed(&costs), 1000);
        costs.carried(5, MS);
        assert_eq!(speed(&costs), 200);
        costs.carried(64, 64 * MS);
        assert_eq!(speed(&costs), 1000);
        // Nothing but zeros tells something, too.
        let mut costs = Costs::unknown();
        costs.carried(0, MS);
        assert_eq!(speed(&costs), 1000);
    }

    #[test]
    fn without_a_measured_link_nothing_is_short_enough() {
        assert!(Costs::unknown().downtime(0) > Duration::from_secs(1 << 30));
        assert!(costs().downtime(u64::MAX) > costs().downtime(1 << 40));
    }

    #[test]
    fn throttling_follows_the_measured_rate() {
        // Half the link's speed and less needs nothing.
        assert_eq!(throttle(0, 50.0, 100.0), 0);
        assert_eq!(throttle(0, 0.0, 100.0), 0);
        // Twice that: half of the time, in steps.
        assert_eq!(throttle(0, 100.0, 100.0), 20);
        assert_eq!(throttle(40, 60.0, 100.0), 50);
        // Already there: throttled to a half, it dirties half the link's speed.
        assert_eq!(throttle(50, 50.0, 100.0), 50);
        assert_eq!(throttle(90, 1e9, 1.0), 99);
        assert_eq!(throttle(99, 1e9, 0.0), 99);
    }
}
