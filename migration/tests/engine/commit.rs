//! The commit, step by step, of every kind of migration: what fails, breaks or is cancelled at each of its steps.
//!
//! | asked | source, the last | destination, the last three |
//! |---|---|---|
//! | before `Ready` | | restore the state |
//! | between `Ready` and `Commit` | give up the disks | |
//! | between `Commit` and `Committed` | | take the disks, start |

use std::collections::BTreeSet;

use migration::engine::{MigrationError, Sent};
use migration::wire::Phase;

use crate::bed::{Ended, Setup, migrate};
use crate::model::Trouble;
use crate::verdict::{How, There};

/// How memory gets to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PreCopy,
    PostCopy,
    Local,
}

impl Kind {
    const ALL: [Self; 3] = [Self::PreCopy, Self::PostCopy, Self::Local];

    fn setup(self, phase: Phase) -> Setup {
        let setup = Setup { phase, ..Setup::new() };
        match self {
            Self::PreCopy => setup,
            Self::PostCopy => setup.postponed(1),
            Self::Local => Setup { local: true, ..setup },
        }
    }
}

/// What each end is asked, all in all: so many things.
struct Steps {
    source: u32,
    destination: u32,
}

impl Steps {
    const fn release(&self) -> u32 {
        self.source - 1
    }

    const fn restore(&self) -> u32 {
        self.destination - 3
    }

    const fn take_disks(&self) -> u32 {
        self.destination - 2
    }

    const fn start(&self) -> u32 {
        self.destination - 1
    }
}

/// Every kind, with a VM that runs and one that is paused.
fn each_kind(test: impl Fn(Kind, Setup, Steps)) {
    for kind in Kind::ALL {
        for phase in [Phase::Running, Phase::Paused] {
            let setup = kind.setup(phase);
            let whole = migrate(&setup);
            assert_eq!(whole.check(&setup), How::Completed, "{kind:?}");
            let source = whole.source.asks.count();
            let steps = Steps { source, destination: whole.destination.asks.count() };
            test(kind, setup, steps);
        }
    }
}

fn with(setup: &Setup, source: Trouble, destination: Trouble) -> (How, Ended) {
    let setup = Setup { source, destination, ..setup.clone() };
    let ended = migrate(&setup);
    (ended.check(&setup), ended)
}

/// What a source says that has its VM, and the disks.
fn why(ended: &Ended) -> String {
    match &ended.sent {
        Sent::Restored(error) | Sent::InDoubt { error, .. } => error.to_string(),
        _ => panic!("it is not here"),
    }
}

#[test]
fn a_vm_that_does_not_give_up_its_disks_stays_and_has_them() {
    each_kind(|kind, setup, steps| {
        let (how, ended) = with(&setup, Trouble::Fail(steps.release()), Trouble::None);
        assert_eq!(how, How::Restored, "{kind:?}");
        let expected = "cannot give up the disks: it does not give up its disks";
        assert_eq!(why(&ended), expected, "{kind:?}");
        let there = ended.received.unwrap_err().to_string();
        assert!(there.contains(expected), "the other end hears why: {there}");
        // Some may have been given up: it was asked to take them back.
        assert_eq!(ended.source.asks.count(), steps.source + 1);
    });
}

#[test]
fn a_refusal_at_any_step_gives_the_vm_back_with_its_disks() {
    each_kind(|kind, setup, steps| {
        let refusals = [
            (steps.restore(), "cannot restore the VM's state: it does not restore"),
            (steps.take_disks(), "cannot take the disks: it does not take its disks"),
            (steps.start(), "cannot start the VM: it does not start"),
        ];
        for (at, expected) in refusals {
            let (how, ended) = with(&setup, Trouble::None, Trouble::Fail(at));
            assert_eq!(how, How::Restored, "{kind:?}: {expected}");
            assert!(why(&ended).contains(expected), "{kind:?}: {}", why(&ended));
        }
    });
}

/// Whose the VM is is known, but it cannot go on.
#[test]
fn disks_that_cannot_be_taken_back_leave_the_vm_to_its_operator() {
    each_kind(|kind, setup, steps| {
        for at in [steps.take_disks(), steps.start()] {
            let (how, ended) = with(&setup, Trouble::Fail(steps.source), Trouble::Fail(at));
            assert_eq!(how, How::InDoubt(There::Never), "{kind:?}");
            assert!(why(&ended).contains("take the disks back"), "{kind:?}: {}", why(&ended));
        }
    });
}

/// The decision is taken between the destination's making ready and the giving up of the disks.
#[test]
fn a_cancel_is_in_time_until_the_commit_and_too_late_from_then_on() {
    each_kind(|kind, setup, steps| {
        for at in 0..steps.destination {
            let (how, ended) = with(&setup, Trouble::None, Trouble::Cancel(at));
            if at <= steps.restore() {
                assert_eq!(how, How::Restored, "{kind:?}, {at}");
                assert!(matches!(ended.sent, Sent::Restored(MigrationError::Cancelled)));
                assert!(ended.source.handle().cancel().is_ok(), "twice is once");
            } else {
                assert_eq!(how, How::Completed, "{kind:?}, {at}");
                assert!(ended.source.handle().cancel().is_err());
            }
        }
        let (how, _) = with(&setup, Trouble::Cancel(steps.release()), Trouble::None);
        assert_eq!(how, How::Completed, "{kind:?}");
        let (how, _) = with(&setup, Trouble::Cancel(steps.release() - 1), Trouble::None);
        assert_eq!(how, How::Restored, "{kind:?}");
    });
}

/// `Committed` is lost: the source cannot know that the VM is there. Where memory is owed, what the source does then may have it end, or not even start.
#[test]
fn an_answer_that_is_lost_leaves_a_doubt() {
    each_kind(|kind, setup, steps| {
        for at in [steps.take_disks(), steps.start()] {
            let (how, ended) = with(&setup, Trouble::None, Trouble::Cut(at, 0));
            let is_expected = match how {
                How::InDoubt(There::Whole) => true,
                How::InDoubt(_) => kind == Kind::PostCopy,
                _ => false,
            };
            assert!(is_expected, "{kind:?}, {at}: {how:?}");
            assert!(ended.source.handle().cancel().is_err());
        }
    });
}

/// `Commit` is lost: the VM is nowhere until the operator says that it is here.
#[test]
fn a_commit_that_is_lost_leaves_a_doubt_and_one_that_was_not_sent_does_not() {
    each_kind(|kind, setup, steps| {
        let (how, _) = with(&setup, Trouble::Cut(steps.release(), 0), Trouble::None);
        assert_eq!(how, How::InDoubt(There::Never), "{kind:?}");
        // `Ready` is lost.
        let (how, _) = with(&setup, Trouble::None, Trouble::Cut(steps.restore(), 0));
        assert_eq!(how, How::Restored, "{kind:?}");
        for at in 0..steps.release() {
            let (how, _) = with(&setup, Trouble::Cut(at, 0), Trouble::None);
            assert_eq!(how, How::Restored, "{kind:?}, {at}");
        }
    });
}

/// Pages that cannot follow are found before the VM is given away, or cost it its life afterwards; neither is a doubt.
#[test]
fn connections_of_pages_that_break_at_the_commit_leave_no_doubt() {
    let setup = Kind::PostCopy.setup(Phase::Running);
    let whole = migrate(&setup);
    let (source, destination) = (whole.source.asks.count(), whole.destination.asks.count());
    let steps = Steps { source, destination };
    let breaks = |at, link| {
        [
            (Trouble::None, Trouble::Cut(at, link)),
            (Trouble::Cut(steps.release(), link), Trouble::None),
        ]
    };
    let mut seen = BTreeSet::new();
    for at in [steps.restore(), steps.take_disks(), steps.start()] {
        for (source, destination) in (1..setup.connections).flat_map(|link| breaks(at, link)) {
            seen.insert(with(&setup, source, destination).0);
        }
    }
    let allowed = [How::Completed, How::Restored, How::Stranded(There::Interrupted)];
    assert!(seen.iter().all(|how| allowed.contains(how)), "{seen:?}");
}
