//! From a count of seconds to the fields of a clock.

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days of 400 Gregorian years, after which weekdays and leap years repeat.
const DAYS_OF_400_YEARS: u64 = 146_097;

/// A moment in UTC, in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) year: u64,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
    /// 1 (Sunday) to 7.
    pub(super) weekday: u8,
    /// 0 to 23.
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: u8) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The low byte of a number that the caller knows to be small.
const fn small(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

impl DateTime {
    /// The moment `seconds` after the start of 1970.
    pub(super) const fn from_unix(seconds: u64) -> Self {
        let (days, time) = (seconds / DAY, seconds % DAY);
        let mut year = 1970 + days / DAYS_OF_400_YEARS * 400;
        let mut left = days % DAYS_OF_400_YEARS;
        // At most 400 steps, then 12.
        while left >= days_of_year(year) {
            left -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while left >= days_of_month(year, month) {
            left -= days_of_month(year, month);
            month += 1;
        }
        Self {
            year,
            month,
            day: small(left + 1),
            // 1 January 1970 was a Thursday, day 5.
            weekday: small((days + 4) % 7 + 1),
            hour: small(time / 3600),
            minute: small(time / 60 % 60),
            second: small(time % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(seconds: u64) -> (u64, u8, u8, u8, u8, u8, u8) {
        let t = DateTime::from_unix(seconds);
        (t.year, t.month, t.day, t.weekday, t.hour, t.minute, t.second)
    }

    /// Taken from `date -u -d @N`.
    #[test]
    fn known_moments() {
        assert_eq!(fields(0), (1970, 1, 1, 5, 0, 0, 0));
        assert_eq!(fields(951_782_399), (2000, 2, 28, 2, 23, 59, 59));
        assert_eq!(fields(951_782_400), (2000, 2, 29, 3, 0, 0, 0));
        assert_eq!(fields(1_735_689_599), (2024, 12, 31, 3, 23, 59, 59));
        assert_eq!(fields(2_147_483_648), (2038, 1, 19, 3, 3, 14, 8));
        assert_eq!(fields(4_107_542_400), (2100, 3, 1, 2, 0, 0, 0));
    }

    /// Every day of a whole cycle follows the one before it.
    #[test]
    fn days_follow_each_other() {
        let mut before = DateTime::from_unix(0);
        for day in 1..=DAYS_OF_400_YEARS {
            let now = DateTime::from_unix(day * DAY);
            assert_eq!(now.weekday, before.weekday % 7 + 1);
            let last_of_month = u64::from(before.day) == days_of_month(before.year, before.month);
            match (last_of_month, before.month) {
                (false, _) => assert_eq!((now.day, now.month), (before.day + 1, before.month)),
                (true, 12) => assert_eq!((now.day, now.month, now.year), (1, 1, before.year + 1)),
                (true, _) => assert_eq!((now.day, now.month), (1, before.month + 1)),
            }
            before = now;
        }
        assert_eq!((before.year, before.month, before.day), (2370, 1, 1));
    }
}
