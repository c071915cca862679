//! Memory that comes after the VM: whole migrations, and those that break at any byte.

use std::time::Duration;

use migration::engine::Sent;
use migration::wire::{Compression, Phase};
use proptest::prelude::*;

use crate::bed::{End, Setup, migrate};
use crate::guest::Program;
use crate::model::Trouble;
use crate::verdict::{How, There};

fn setup(rounds: u32) -> Setup {
    Setup::new().postponed(rounds)
}

#[test]
fn a_guest_that_writes_faster_than_any_link_arrives_with_every_page() {
    for (rounds, connections) in [(0, 4), (1, 4), (1, 7), (3, 5)] {
        for phase in [Phase::Running, Phase::Paused] {
            for compression in [Compression::None, Compression::Lz4] {
                let mut setup = Setup { phase, connections, ..setup(rounds) };
                setup.program.writes = 5;
                setup.options.compression = compression;
                let ended = migrate(&setup);
                assert_eq!(ended.check(&setup), How::Completed, "{:?}", ended.received);
                let Sent::Completed(report) = ended.sent else { panic!("it completed") };
                assert_eq!(report.rounds, rounds + 1);
                assert!(report.postponed_pages > 0 || phase == Phase::Paused && rounds > 0);
                assert!(report.downtime.total() <= report.total);
            }
        }
    }
}

#[test]
fn what_converges_needs_no_memory_later_and_what_is_out_of_time_does_not_end() {
    let mut setup = setup(5);
    setup.options.downtime = Duration::from_hours(1);
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Completed);
    let Sent::Completed(report) = ended.sent else { panic!("it completed") };
    assert_eq!(report.postponed_pages, 0);
    assert!(ended.destination.lazy.is_none());

    setup.options.downtime = Duration::ZERO;
    setup.options.timeout = Duration::ZERO;
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Completed);
    let Sent::Completed(report) = ended.sent else { panic!("it completed") };
    assert!(report.rounds <= 2 && report.postponed_pages > 0, "{report:?}");
}

#[test]
fn too_few_connections_are_an_error_before_anything_is_done() {
    let setup = Setup { connections: 3, ..setup(1) };
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Restored);
    assert_eq!(ended.source.asks.count(), 0);
}

/// A user shuts the VM down at the destination while its memory still comes: that is no failure of the migration.
#[test]
fn a_vm_that_is_ended_while_memory_comes_needs_no_more() {
    for pages in [0, 10, 40] {
        let setup = Setup { ends_after: Some(pages), ..setup(0) };
        let ended = migrate(&setup);
        assert_eq!(ended.check(&setup), How::Completed, "{:?}", ended.received);
    }
}

#[test]
fn a_vm_that_fails_anywhere_leaves_one_vm_or_none_that_runs() {
    let first = migrate(&setup(1));
    for at in 0..first.source.asks.count() {
        let setup = Setup { source: Trouble::Fail(at), ..setup(1) };
        let ended = migrate(&setup);
        assert_eq!(ended.check(&setup), How::Restored, "at {at}");
    }
    for at in 0..first.destination.asks.count() {
        let setup = Setup { destination: Trouble::Fail(at), ..setup(1) };
        let ended = migrate(&setup);
        assert_eq!(ended.check(&setup), How::Restored, "at {at}");
    }
    for at in 0..first.source.asks.count() {
        let setup = Setup { source: Trouble::Cancel(at), ..setup(1) };
        let ended = migrate(&setup);
        let expected =
            if at + 1 == first.source.asks.count() { How::Completed } else { How::Restored };
        assert_eq!(ended.check(&setup), expected, "at {at}");
    }
}

/// What the source says on the last connection before any pages: that it joins, and that no round follows.
const TALK: u64 = 30 + 17;

#[test]
fn pages_that_stop_coming_on_any_connection_end_it_at_both_ends() {
    for index in [2, 3] {
        for at in TALK..TALK + 17 {
            // At the latest in the mark that says that all is sent.
            let setup = Setup { cut: Some((End::Source, index, at)), ..setup(0) };
            let ended = migrate(&setup);
            let how = ended.check(&setup);
            let (error, expected) = match &ended.sent {
                Sent::Restored(error) => (error, How::Restored),
                Sent::Stranded { error, .. } => (error, How::Stranded(There::Interrupted)),
                _ => panic!("it completed, or is in doubt, at {at} of {index}"),
            };
            assert_eq!(how, expected, "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_link_that_breaks_at_any_byte_leaves_at_most_one_vm_that_runs(
        (seed, writes, hot_pages) in (any::<u64>(), 0_u64..4, 1_u64..96),
        (connections, rounds) in (4_usize..7, 0_u32..3),
        is_paused: bool,
        (which, place) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let phase = if is_paused { Phase::Paused } else { Phase::Running };
        let mut setup = Setup { phase, connections, ..setup(rounds) };
        setup.program = Program { seed, writes, hot_pages };
        let whole = migrate(&setup);
        prop_assert_eq!(whole.check(&setup), How::Completed);
        let (end, index, bytes) = whole.carried[which.index(whole.carried.len())];
        let at = place.index(usize::try_from(bytes).unwrap() + 1) as u64;
        setup.cut = Some((end, index, at));
        let ended = migrate(&setup);
        let how = ended.check(&setup);
        // Who does not know whether the VM is there has lost the connection that says so.
        prop_assert!(!matches!(how, How::InDoubt(_)) || index == 0, "{:?}", how);
    }
}
