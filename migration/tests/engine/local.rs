//! Memory that is taken over: one VM has it at any time, whatever happens, and a source that keeps its VM finds it as it was.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use migration::engine::{MigrationError, Sent, receive};
use migration::wire::{
    Capabilities, Connection, MAX_PASSED, Message, Part, Passed, Phase, Session,
};
use proptest::prelude::*;

use crate::bed::{Setup, layout, migrate};
use crate::model::{CONFIG, Destination, Trouble};
use crate::verdict::{How, There};
use crate::world::World;

fn setup(is_paused: bool) -> Setup {
    let phase = if is_paused { Phase::Paused } else { Phase::Running };
    Setup { local: true, phase, ..Setup::new() }
}

#[test]
fn memory_changes_its_owner_and_nothing_of_it_is_sent() {
    for is_paused in [false, true] {
        let setup = setup(is_paused);
        let ended = migrate(&setup);
        assert_eq!(ended.check(&setup), How::Completed);
        let Sent::Completed(report) = &ended.sent else { panic!("it is there") };
        assert_eq!(report.rounds, 0);
        assert!(report.sent_bytes < 1000, "{report:?}");
        assert!(!ended.source.is_logging);
    }
}

/// Whatever fails, at either end and at anything: as when memory is copied.
#[test]
fn who_fails_anywhere_leaves_the_memory_to_the_source() {
    for is_paused in [false, true] {
        let whole = migrate(&setup(is_paused));
        for at in 0..whole.source.asks.count() {
            let setup = Setup { source: Trouble::Fail(at), ..setup(is_paused) };
            assert_eq!(migrate(&setup).check(&setup), How::Restored, "source, {at}");
            let setup = Setup { source: Trouble::Cancel(at), ..setup };
            let expected =
                if at + 1 == whole.source.asks.count() { How::Completed } else { How::Restored };
            assert_eq!(migrate(&setup).check(&setup), expected, "cancel, {at}");
        }
        for at in 0..whole.destination.asks.count() {
            let setup = Setup { destination: Trouble::Fail(at), ..setup(is_paused) };
            let ended = migrate(&setup);
            assert_eq!(ended.check(&setup), How::Restored, "destination, {at}");
            let Sent::Restored(error) = &ended.sent else { panic!("it is here") };
            assert!(error.to_string().contains("it does not"), "{error}");
        }
    }
}

/// Every byte in either direction.
#[test]
fn a_cut_at_any_byte_leaves_one_owner_or_a_source_that_stands_still() {
    let whole = migrate(&setup(false));
    for (end, index, bytes) in whole.carried.clone() {
        for at in 0..bytes {
            let setup = Setup { cut: Some((end, index, at)), ..setup(at % 2 == 1) };
            let how = migrate(&setup).check(&setup);
            // `Commit` is the last that the source sends, `Committed` the last that the destination does: a header and a byte. A link that
            // breaks just before them may have brought what was sent the other way, and numbers before them may be shorter.
            let may_doubt = at + 13 + 4 >= bytes;
            assert!(may_doubt || how == How::Restored, "{end:?} at {at} of {bytes}: {how:?}");
        }
    }
}

#[test]
fn a_destination_that_cannot_take_memory_over_says_so() {
    let setup = setup(false);
    let mut source = crate::model::Source::new(
        &Arc::new(World::default()),
        crate::guest::Guest::new(&layout(), setup.program),
        Phase::Running,
        Trouble::None,
    );
    let (here, there) = UnixStream::pair().expect("the host has sockets");
    let handle = Arc::clone(source.handle());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut old = Connection::new(there, setup.options.patience);
            old.message("Hello").expect("it comes");
            let capabilities = Capabilities(0b11);
            old.send(Message::Welcome { version: 1, capabilities }).expect("it goes");
            // What the source has to say.
            let _ = old.message("Abort");
        });
        let sent = migration::engine::send_local(&mut source, here, &setup.options, &handle);
        assert!(matches!(sent, Sent::Restored(MigrationError::NotLocal)));
    });
}

/// What a destination makes of a source that passes these, and says that they are so many.
fn told(named: usize, passed: usize) -> (String, Destination) {
    let patience = Setup::new().options.patience;
    let world = Arc::new(World::default());
    let mut destination = Destination::new(&world, &layout(), Trouble::None);
    let (here, there) = UnixStream::pair().expect("the host has sockets");
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            let mut source = Connection::new(here, patience);
            source
                .send(Message::Hello {
                    min_version: 1,
                    max_version: 1,
                    session: Session([1; 16]),
                    capabilities: Capabilities::ALL.without(Capabilities::DISKS),
                    connections: 1,
                })
                .expect("it goes");
            source.message("Welcome").expect("it comes");
            if passed == 0 {
                source.send(Message::Adopt { parts: vec![Part::Memory; named] }).expect("it goes");
                // Where descriptors should come.
                let _ = source.send(Message::Describe { regions: vec![], config: CONFIG.to_vec() });
            } else {
                let file = || tempfile::tempfile().expect("the host has files").into();
                let parts = (0..passed).map(|_| Passed { part: Part::Memory, file: file() });
                let _ = source.pass(&parts.collect::<Vec<_>>());
                // Twice is once too often.
                let _ = source.send(Message::Adopt { parts: vec![Part::Memory] });
            }
            let _ = source.message("Refused");
        });
        let mut there = Some(there);
        let accept = || there.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into());
        receive(&mut destination, accept, patience).expect_err("it is no VM").to_string()
    });
    (error, destination)
}

#[test]
fn too_few_too_many_and_twice_are_errors() {
    for (named, passed, expected) in [
        (0, 0, "the names of 0 descriptors"),
        (1, 0, "something else came where descriptors should"),
        (MAX_PASSED + 1, 0, "the names of 65 descriptors"),
        (1, 1, "Adopt"),
    ] {
        let (error, destination) = told(named, passed);
        assert!(error.contains(expected), "{error}");
        assert!(destination.is_discarded && destination.started.is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn troubles_at_both_ends_at_once_leave_one_owner(
        (at_source, at_destination) in (0_u32..7, 0_u32..6),
        cancels: bool,
        is_paused: bool,
    ) {
        let source = if cancels { Trouble::Cancel(at_source) } else { Trouble::Fail(at_source) };
        let setup =
            Setup { source, destination: Trouble::Fail(at_destination), ..setup(is_paused) };
        let how = migrate(&setup).check(&setup);
        prop_assert!(how != How::InDoubt(There::Whole), "{how:?}");
    }
}
