//! Pauses of all: they nest, are refused and taken back whole, and kill dominates them.

use std::thread;
use std::time::Duration;

use vcpu_state::{Deadline, Parked, PauseError, Released, Step, Word};

use crate::counting::{await_progress, group, join, run, sum};

#[test]
fn a_paused_group_stands_still_and_goes_on() {
    let group = group(8);
    let (threads, counters) = run(&group);
    for round in 0..200 {
        // A deadline that does not pass makes no difference.
        let far = Deadline::After(Duration::from_hours(24));
        let deadline = if round % 2 == 0 { Deadline::Never } else { far };
        let quiesced = group.pause(deadline).unwrap();
        let still = sum(&counters);
        assert!(group.words().all(Word::is_quiescent));
        thread::yield_now();
        assert_eq!(still, sum(&counters));
        assert_eq!(quiesced.resume(), Released::Running);
        assert!(group.words().all(|word| !word.any(Word::PAUSED)));
    }
    let then = sum(&counters);
    await_progress(&counters, &then);
    group.kill_all();
    join(threads);
    assert!(group.words().all(|word| word.any(Word::DEAD)));
}

#[test]
fn pausers_nest_and_only_the_last_lets_go() {
    let group = group(3);
    let (threads, counters) = run(&group);
    let first = group.pause(Deadline::Never).unwrap();
    let second = group.pause(Deadline::Never).unwrap();
    assert_eq!(first.resume(), Released::StillHeld);
    let still = sum(&counters);
    assert!(group.words().all(Word::is_quiescent));
    assert_eq!(still, sum(&counters));
    assert_eq!(second.resume(), Released::Running);
    await_progress(&counters, &still);
    group.kill_all();
    join(threads);
}

#[test]
fn many_pausers_at_once() {
    let group = group(4);
    let (threads, counters) = run(&group);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let quiesced = group.pause(Deadline::Never).unwrap();
                    let still = sum(&counters);
                    assert!(group.words().all(Word::is_quiescent));
                    assert_eq!(still, sum(&counters));
                    drop(quiesced);
                }
            });
        }
    });
    let then = sum(&counters);
    await_progress(&counters, &then);
    group.kill_all();
    join(threads);
}

#[test]
fn kill_dominates_pause() {
    let group = group(2);
    let (threads, _) = run(&group);
    let quiesced = group.pause(Deadline::Never).unwrap();
    group.kill_all();
    group.wait_dead(Deadline::Never).unwrap();
    join(threads);
    drop(quiesced);
    // A group of the dead pauses at once.
    drop(group.pause(Deadline::Never).unwrap());
}

#[test]
fn a_stuck_member_is_named_and_the_rest_put_back() {
    let group = group(2);
    let mut stuck = group.member(0).unwrap();
    assert_eq!(stuck.start(), Ok(Parked::Resumed));
    stuck.enter().unwrap();
    let error = group.pause(Deadline::After(Duration::from_millis(5))).map(drop).unwrap_err();
    let PauseError::Stuck(report) = &error else { panic!("{error}") };
    assert_eq!(report.members.iter().map(|m| m.member).collect::<Vec<_>>(), [0]);
    assert!(report.members[0].word.any(Word::IN_GUEST));
    assert!(error.to_string().contains("member 0 (RUN|IN_GUEST|PAUSE_REQUESTED"), "{error}");
    assert!(group.words().all(|word| word.holders() == 0 && !word.any(Word::PAUSE_REQUESTED)));
}

#[test]
fn a_dropped_request_is_taken_back() {
    let group = group(1);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    drop(group.signal_all().unwrap());
    assert_eq!(member.next(), Step::Enter);
}

#[test]
fn too_many_holders_is_refused_whole() {
    let group = group(2);
    let holds: Vec<_> =
        (0..Word::MAX_HOLDERS).map(|_| group.pause(Deadline::Never).unwrap()).collect();
    assert!(matches!(group.pause(Deadline::Never), Err(PauseError::TooManyHolders(_))));
    assert!(group.words().all(|word| word.holders() == Word::MAX_HOLDERS));
    drop(holds);
    assert!(group.words().all(|word| word.holders() == 0));
    drop(group.pause(Deadline::Never).unwrap());
}

#[test]
fn a_member_that_starts_under_a_pause_starts_parked() {
    let group = group(1);
    let quiesced = group.pause(Deadline::Never).unwrap();
    let (threads, counters) = run(&group);
    while !group.word(0).unwrap().any(Word::PARKED) {
        thread::yield_now();
    }
    assert_eq!(sum(&counters), [0]);
    drop(quiesced);
    await_progress(&counters, &[0]);
    group.kill(0);
    join(threads);
}

#[test]
fn what_a_thread_arranges_for_its_sleep_comes_after_its_ack() {
    let group = group(1);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    let pending = group.signal_all().unwrap();
    let Step::Pause { epoch } = member.next() else { panic!("nothing was asked") };
    let older = member.park_within(epoch.wrapping_sub(1), |_| panic!("it answered no request"));
    assert_eq!(older, Parked::Resumed);
    let parked = member.park_within(epoch, |stay| {
        // The pauser has its answer already, and lets go.
        drop(pending.wait_all().unwrap());
        stay()
    });
    assert_eq!(parked, Parked::Resumed);
    assert_eq!(member.next(), Step::Enter);
}
