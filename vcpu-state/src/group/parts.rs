//! Where the time of a pause went, along the member that stopped last.
//!
//! ```text
//!   begun ──signalling──▶ all asked ──stopping──▶ it has seen it ──completing──▶ it is PAUSED ──waking──▶ the pauser
//! ```
//!
//! Invariant: the parts add up to the pause's latency. What the last member did while others were still being
//! asked counts as signalling: without it, the pause would have been no shorter.

use std::ops::Range;
use std::time::Duration;

use super::Group;

/// The parts of one pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PauseParts {
    /// Until every member had been asked, and kicked where that was necessary.
    pub signalling: Duration,
    /// From then until the last member had seen it: its thread got a processor, and left the guest.
    pub stopping: Duration,
    /// From then until it had acknowledged, with its last exit completed.
    pub completing: Duration,
    /// From then until the pauser ran again.
    pub waking: Duration,
}

/// The times that the pauser itself knows, since the group was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) begun: Duration,
    pub(super) signalled: Duration,
    pub(super) ended: Duration,
}

impl Times {
    /// Takes the parts apart; the members have to be still.
    pub(super) fn parts(self, group: &Group, members: Range<usize>) -> PauseParts {
        let last = members.map(|member| group.stopped(member)).max_by_key(|(_, parked)| *parked);
        // Who had parked before was not waited for.
        self.along(last.filter(|(_, parked)| *parked >= self.begun))
    }

    fn along(self, last: Option<(Duration, Duration)>) -> PauseParts {
        let Self { begun, signalled, ended } = self;
        let (stopped, parked) = last.unwrap_or((signalled, signalled));
        let stopped = stopped.clamp(signalled, ended);
        let parked = parked.clamp(stopped, ended);
        PauseParts {
            signalling: signalled.saturating_sub(begun),
            stopping: stopped.saturating_sub(signalled),
            completing: parked.saturating_sub(stopped),
            waking: ended.saturating_sub(parked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::NoKick;

    const fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    const TIMES: Times = Times { begun: at(100), signalled: at(110), ended: at(200) };

    #[test]
    fn the_parts_follow_the_last_member() {
        let parts = TIMES.along(Some((at(150), at(160))));
        let expected = [at(10), at(40), at(10), at(40)];
        let PauseParts { signalling, stopping, completing, waking } = parts;
        assert_eq!([signalling, stopping, completing, waking], expected);
    }

    #[test]
    fn the_parts_add_up_whatever_the_stamps_are() {
        let stamps = [0, 100, 105, 110, 150, 200, 250].map(at);
        let pairs =
            stamps.iter().flat_map(|stopped| stamps.iter().map(|parked| (*stopped, *parked)));
        for last in pairs.map(Some).chain([None]) {
            let PauseParts { signalling, stopping, completing, waking } = TIMES.along(last);
            assert_eq!(signalling + stopping + completing + waking, at(100), "{last:?}");
        }
    }

    #[test]
    fn the_last_member_is_the_one_that_parked_last_since_the_pause_began() {
        let group = Group::new(3, Box::new(NoKick));
        for member in [2, 0] {
            group.stamp_stopped(member);
            while group.elapsed() == group.stopped(member).0 {}
            group.stamp_parked(member);
        }
        let (stopped, parked) = group.stopped(0);
        assert!(stopped < parked && group.stopped(2).1 <= stopped);
        let times = Times { begun: at(0), signalled: at(0), ended: parked + at(10) };
        let expected = PauseParts {
            signalling: at(0),
            stopping: stopped,
            completing: parked.saturating_sub(stopped),
            waking: at(10),
        };
        assert_eq!(times.parts(&group, 0..3), expected);
    }

    #[test]
    fn a_pause_that_found_all_parked_is_signalling_and_waking() {
        let parts = TIMES.along(None);
        assert_eq!((parts.stopping, parts.completing), (Duration::ZERO, Duration::ZERO));
        assert_eq!(parts.waking, at(90));
    }
}
