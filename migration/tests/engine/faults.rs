//! Links that break at every byte, VMs that fail at everything they are asked, operators that cancel at any moment.

use std::collections::BTreeSet;

use migration::engine::Sent;
use migration::wire::Phase;
use proptest::prelude::*;

use crate::bed::{End, Setup, migrate};
use crate::guest::Program;
use crate::model::Trouble;
use crate::verdict::{How, There};

fn phase(is_paused: bool) -> Phase {
    if is_paused { Phase::Paused } else { Phase::Running }
}

#[test]
fn a_source_that_fails_anywhere_keeps_its_vm_as_it_was() {
    for is_paused in [false, true] {
        let mut setup = Setup { phase: phase(is_paused), ..Setup::new() };
        let asked = migrate(&setup).source.asks.count();
        for at in 0..asked {
            setup.source = Trouble::Fail(at);
            let ended = migrate(&setup);
            assert_eq!(ended.check(&setup), How::Restored, "at {at}");
            let other = ended.received.unwrap_err().to_string();
            assert!(other.contains("it does not"), "the other end hears why: {other}");
        }
    }
}

#[test]
fn a_destination_that_fails_anywhere_leaves_the_source_as_it_was_and_says_why() {
    for is_paused in [false, true] {
        let mut setup = Setup { phase: phase(is_paused), ..Setup::new() };
        let asked = migrate(&setup).destination.asks.count();
        for at in 0..asked {
            setup.destination = Trouble::Fail(at);
            let ended = migrate(&setup);
            assert_eq!(ended.check(&setup), How::Restored, "at {at}");
            let Sent::Restored(error) = &ended.sent else { panic!("it is here") };
            assert!(error.to_string().contains("it does not"), "{error}");
        }
    }
}

#[test]
fn a_cancel_at_any_moment_before_the_commit_restores_and_after_it_is_too_late() {
    for connections in [1, 3] {
        let mut setup = Setup { connections, ..Setup::new() };
        let asked = migrate(&setup).source.asks.count();
        for at in 0..asked {
            setup.source = Trouble::Cancel(at);
            let ended = migrate(&setup);
            // The last thing that it is asked is to give up its disks, which is after the decision.
            let expected = if at + 1 == asked { How::Completed } else { How::Restored };
            assert_eq!(ended.check(&setup), expected, "at {at}");
            assert_eq!(ended.source.handle().cancel().is_ok(), expected == How::Restored);
        }
    }
}

/// Every byte of what the destination says, and of the commit: the only ones after which nobody can know.
#[test]
fn only_a_lost_commit_or_answer_leaves_a_doubt() {
    let mut setup = Setup::new();
    let whole = migrate(&setup);
    let sent = |end| whole.carried.iter().find(|(at, ..)| *at == end).unwrap().2;
    let mut seen = BTreeSet::new();
    for at in 0..sent(End::Destination) {
        setup.cut = Some((End::Destination, 0, at));
        seen.insert(migrate(&setup).check(&setup));
    }
    // `Committed` was cut: the VM is there, and the source cannot know.
    assert!(
        seen.contains(&How::Restored) && seen.contains(&How::InDoubt(There::Whole)),
        "{seen:?}"
    );
    // `Commit` is the last that the source sends, a header and a byte.
    for back in 1..40 {
        setup.cut = Some((End::Source, 0, sent(End::Source) - back));
        let expected = if back < 13 { How::InDoubt(There::Never) } else { How::Restored };
        assert_eq!(migrate(&setup).check(&setup), expected, "{back} bytes before the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_link_that_breaks_at_any_byte_leaves_one_vm_or_a_source_that_stands_still(
        (seed, writes, hot_pages) in (any::<u64>(), 0_u64..4, 1_u64..96),
        connections in 1_usize..4,
        is_paused: bool,
        (which, place) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut setup = Setup { connections, phase: phase(is_paused), ..Setup::new() };
        setup.program = Program { seed, writes, hot_pages };
        let carried = migrate(&setup).carried;
        let (end, index, bytes) = carried[which.index(carried.len())];
        let at = place.index(usize::try_from(bytes).unwrap() + 1) as u64;
        setup.cut = Some((end, index, at));
        let how = migrate(&setup).check(&setup);
        prop_assert!(!matches!(how, How::InDoubt(_)) || index == 0, "{how:?}");
    }

    #[test]
    fn troubles_at_both_ends_at_once_leave_one_vm(
        (at_source, at_destination) in (0_u32..10, 0_u32..5),
        cancels: bool,
        is_paused: bool,
    ) {
        let mut setup = Setup { phase: phase(is_paused), ..Setup::new() };
        setup.source = if cancels { Trouble::Cancel(at_source) } else { Trouble::Fail(at_source) };
        setup.destination = Trouble::Fail(at_destination);
        let ended = migrate(&setup);
        // A source whose disks cannot be taken back says so, too.
        let how = ended.check(&setup);
        prop_assert!(how != How::InDoubt(There::Whole), "{how:?}");
    }
}
