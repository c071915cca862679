//! When members saw that they were to stop, parked, and left their parks: for a throttle, which steers by it,
//! and for those who want to know where the time of a pause goes. Nothing is decided by a stamp, so checkers
//! do not see them.

use std::time::{Duration, Instant};

use super::Group;

/// Times of one member, in nanoseconds since the group was made.
#[derive(Debug)]
pub(super) struct Stamps {
    #[cfg(not(any(loom, shuttle)))]
    stopped: std::sync::atomic::AtomicU64,
    #[cfg(not(any(loom, shuttle)))]
    parked: std::sync::atomic::AtomicU64,
    #[cfg(not(any(loom, shuttle)))]
    unparked: std::sync::atomic::AtomicU64,
}

#[cfg(not(any(loom, shuttle)))]
mod real {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Duration, Group, Stamps};

    impl Stamps {
        pub(in crate::group) fn new() -> Self {
            let never = || AtomicU64::new(0);
            Self { stopped: never(), parked: never(), unparked: never() }
        }
    }

    impl Group {
        /// The owner has seen a request. Relaxed, as all of these: the word publishes it.
        pub(crate) fn stamp_stopped(&self, member: usize) {
            self.slots[member].stamps.stopped.store(self.nanos(), Ordering::Relaxed);
        }

        /// The owner is about to acknowledge.
        pub(crate) fn stamp_parked(&self, member: usize) {
            self.slots[member].stamps.parked.store(self.nanos(), Ordering::Relaxed);
        }

        /// The owner has left its park.
        pub(crate) fn stamp_unparked(&self, member: usize) {
            self.slots[member].stamps.unparked.store(self.nanos(), Ordering::Relaxed);
        }

        /// When a member parked and left its park last, since the group was made.
        pub(crate) fn stamps(&self, member: usize) -> (Duration, Duration) {
            let stamps = &self.slots[member].stamps;
            let read = |stamp: &AtomicU64| Duration::from_nanos(stamp.load(Ordering::Relaxed));
            (read(&stamps.parked), read(&stamps.unparked))
        }

        /// When a member saw a request and parked last.
        pub(in crate::group) fn stopped(&self, member: usize) -> (Duration, Duration) {
            let stopped = self.slots[member].stamps.stopped.load(Ordering::Relaxed);
            (Duration::from_nanos(stopped), self.stamps(member).0)
        }

        fn nanos(&self) -> u64 {
            // Enough for centuries.
            u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    use super::{Duration, Group, Stamps};

    impl Stamps {
        pub(in crate::group) fn new() -> Self {
            Self {}
        }
    }

    #[expect(clippy::unused_self, reason = "as the real ones")]
    impl Group {
        pub(crate) fn stamp_stopped(&self, _member: usize) {}

        pub(crate) fn stamp_parked(&self, _member: usize) {}

        pub(crate) fn stamp_unparked(&self, _member: usize) {}

        pub(crate) fn stamps(&self, member: usize) -> (Duration, Duration) {
            let Stamps {} = &self.slots[member].stamps;
            (Duration::ZERO, Duration::ZERO)
        }

        pub(in crate::group) fn stopped(&self, member: usize) -> (Duration, Duration) {
            self.stamps(member)
        }
    }
}

impl Group {
    /// Time since the group was made, which stamps count in.
    pub(crate) fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// A time as stamps count it.
    pub(super) fn stamp_of(&self, time: Instant) -> Duration {
        time.duration_since(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::NoKick;

    /// Does something at a time that is later than any before; when that was, at the earliest and the latest.
    fn during(group: &Group, act: impl FnOnce()) -> std::ops::RangeInclusive<Duration> {
        let before = group.elapsed();
        while group.elapsed() == before {}
        let earliest = group.elapsed();
        act();
        earliest..=group.elapsed()
    }

    #[test]
    fn each_stamp_is_the_time_at_which_it_was_made_and_its_members_own() {
        let group = Group::new(2, Box::new(NoKick));
        let never = (Duration::ZERO, Duration::ZERO);
        assert_eq!((group.stamps(1), group.stopped(1)), (never, never));
        let stopped = during(&group, || group.stamp_stopped(1));
        let parked = during(&group, || group.stamp_parked(1));
        let unparked = during(&group, || group.stamp_unparked(1));
        assert!(stopped.contains(&group.stopped(1).0));
        assert!(parked.contains(&group.stopped(1).1) && parked.contains(&group.stamps(1).0));
        assert!(unparked.contains(&group.stamps(1).1));
        assert_eq!((group.stamps(0), group.stopped(0)), (never, never));
        let again = during(&group, || group.stamp_parked(1));
        assert!(again.contains(&group.stamps(1).0) && stopped.contains(&group.stopped(1).0));
    }

    #[test]
    fn an_instant_is_counted_from_when_the_group_was_made() {
        let group = Group::new(1, Box::new(NoKick));
        let mut now = Duration::ZERO;
        let when = during(&group, || now = group.stamp_of(Instant::now()));
        assert!(when.contains(&now), "{now:?} is not in {when:?}");
    }
}
