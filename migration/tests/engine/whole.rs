//! Migrations that nothing happens to, or nothing but their operator.

use std::time::Duration;

use migration::engine::phase::SourcePhase;
use migration::engine::{MigrationError, Sent, Strategy};
use migration::wire::{Compression, Phase, Rehearsal};
use proptest::prelude::*;

use crate::bed::{Setup, migrate};
use crate::guest::Program;
use crate::verdict::How;

#[test]
fn a_vm_is_at_the_other_end_as_it_was_and_no_longer_here() {
    for phase in [Phase::Running, Phase::Paused] {
        let setup = Setup { phase, ..Setup::new() };
        let ended = migrate(&setup);
        assert_eq!(ended.check(&setup), How::Completed);
        let progress = ended.source.handle().progress();
        assert_eq!((progress.phase, progress.rounds), (SourcePhase::Completed, 1));
        assert!(progress.sent_bytes > 0 && progress.expected_downtime.is_some());
        assert!(progress.bandwidth == 0 || progress.eta().is_some());
    }
}

#[test]
fn a_guest_that_never_rests_is_stopped_at_the_time_out_if_that_is_wanted() {
    let mut setup = Setup::new();
    setup.options.downtime = Duration::ZERO;
    setup.options.timeout = Duration::from_millis(20);
    setup.options.strategy = Strategy::Ignore;
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Completed);
}

#[test]
fn a_guest_that_never_rests_stays_where_it_is_if_that_is_wanted() {
    let mut setup = Setup::new();
    setup.options.downtime = Duration::ZERO;
    setup.options.timeout = Duration::from_millis(5);
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Restored);
    let Sent::Restored(error) = &ended.sent else { panic!("it is here") };
    assert!(matches!(error, MigrationError::TimedOut { .. }), "{error}");
    let other = ended.received.unwrap_err().to_string();
    assert!(other.contains("downtime"), "the other end hears why: {other}");
}

#[test]
fn a_vm_that_was_stopped_goes_on_if_that_took_too_long_and_is_stopped_again() {
    let mut setup = Setup::new();
    setup.options.downtime = Duration::from_millis(300);
    setup.first_pause = Duration::from_millis(400);
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Completed);
    assert!(ended.source.pauses > 1);
}

/// It is not even tried: the guest's first pause would be the one too long.
#[test]
fn a_vm_whose_state_takes_too_long_to_save_or_to_restore_is_never_stopped() {
    let slow = 400_000_000;
    let little = Rehearsal { save: 0, setup: 0, state: 0 };
    for rehearsal in [Rehearsal { save: slow, ..little }, Rehearsal { setup: slow, ..little }] {
        let mut setup = Setup { rehearsal: Some(rehearsal), ..Setup::new() };
        setup.options.downtime = Duration::from_millis(300);
        setup.options.timeout = Duration::from_millis(20);
        let ended = migrate(&setup);
        assert_eq!(ended.check(&setup), How::Restored);
        assert_eq!(ended.source.pauses, 0);
        let expected = ended.source.handle().progress().expected_downtime;
        assert!(expected.is_some_and(|expected| expected > setup.options.downtime));
        setup.options.strategy = Strategy::Ignore;
        assert_eq!(migrate(&setup).check(&setup), How::Completed);
    }
}

#[test]
fn a_guest_that_writes_faster_than_the_link_is_throttled_in_steps_and_let_go_afterwards() {
    let mut setup = Setup::new();
    setup.program = Program { seed: 3, writes: 500, hot_pages: 96 };
    setup.options.downtime = Duration::ZERO;
    setup.options.strategy = Strategy::Throttle;
    setup.cancel_at_throttle = Some(30);
    // In case it is not: ends all the same.
    setup.source = crate::model::Trouble::Cancel(10_000);
    let ended = migrate(&setup);
    assert_eq!(ended.check(&setup), How::Restored);
    let throttles = &ended.source.throttles;
    let (end, steps) = throttles.split_last().unwrap();
    assert_eq!(*end, 0);
    assert!(steps.last().is_some_and(|last| *last >= 30), "{throttles:?}");
    let mut before = 0;
    for step in steps {
        assert!((before + 1..=before + 20).contains(step), "{throttles:?}");
        before = *step;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_is_the_same_whatever_the_guest_writes_over_however_many_connections(
        (seed, writes, hot_pages) in (any::<u64>(), 0_u64..6, 1_u64..96),
        connections in 1_usize..5,
        step in prop::sample::select(vec![97, 1000, usize::MAX]),
        compression in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd]),
        rounds_ms in 0_u64..8,
        is_paused: bool,
    ) {
        let mut setup = Setup::new();
        setup.program = Program { seed, writes, hot_pages };
        setup.phase = if is_paused { Phase::Paused } else { Phase::Running };
        setup.connections = connections;
        setup.step = step;
        setup.options.compression = compression;
        // Rounds for so long.
        setup.options.downtime = Duration::ZERO;
        setup.options.strategy = Strategy::Ignore;
        setup.options.timeout = Duration::from_millis(rounds_ms);
        prop_assert_eq!(migrate(&setup).check(&setup), How::Completed);
    }
}
