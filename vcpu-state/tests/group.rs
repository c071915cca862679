//! Groups with real threads: pausers nest, kill dominates, a deadline names who is stuck.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vcpu_state::{
    Deadline, Group, Illegal, Kick, Member, NotDone, OneShot, Outcome, Parked, PauseError,
    Released, Step, Ticket, Waited, Word,
};

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _member: usize) {}
}

fn group(members: usize) -> Arc<Group> {
    Group::new(members, Box::new(NoKick))
}

/// A member whose guest is a counter: it enters, counts and leaves at once.
fn count(mut member: Member, counter: &AtomicU64) {
    if member.start() != Ok(Parked::Resumed) {
        return;
    }
    loop {
        match member.next() {
            Step::Kill => return,
            Step::Pause { epoch } => {
                member.park(epoch);
            }
            Step::OneShot(one_shot) => {
                member.take(one_shot);
            }
            Step::Ticket => unreachable!("this guest has no devices"),
            Step::Enter => {
                if member.enter().is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                    member.leave();
                }
            }
        }
    }
}

fn run(group: &Arc<Group>) -> (Vec<thread::JoinHandle<()>>, Arc<Vec<AtomicU64>>) {
    let counters = Arc::new((0..group.len()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
    let threads = (0..group.len())
        .map(|index| {
            let member = group.member(index).unwrap();
            let counters = Arc::clone(&counters);
            thread::spawn(move || count(member, &counters[index]))
        })
        .collect();
    (threads, counters)
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn sum(counters: &[AtomicU64]) -> Vec<u64> {
    counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect()
}

fn await_progress(counters: &[AtomicU64], from: &[u64]) {
    while counters.iter().zip(from).any(|(now, then)| now.load(Ordering::Relaxed) == *then) {
        thread::yield_now();
    }
}

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
fn a_slot_is_used_again_only_after_death_and_with_a_new_incarnation() {
    let group = group(1);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    assert!(group.reincarnate(0).is_err());
    group.kill(0);
    assert!(group.reincarnate(0).is_err());
    drop(member);
    group.reincarnate(0).unwrap();
    assert_eq!(group.word(0).unwrap().incarnation(), 1);
    let mut next = group.member(0).unwrap();
    assert_eq!(next.start(), Ok(Parked::Resumed));
}

#[test]
fn a_slot_has_one_owner_for_each_incarnation() {
    let group = group(1);
    assert!(group.member(1).is_none());
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    assert!(group.member(0).is_none());
    assert!(group.word(0).unwrap().any(Word::RUN));
    drop(member);
    assert!(group.member(0).is_none());
    group.reincarnate(0).unwrap();
    assert!(group.member(0).is_some());
}

#[test]
fn an_nmi_is_consumed_once() {
    let group = group(1);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    group.ask(0, OneShot::Nmi).unwrap();
    group.ask(0, OneShot::Nmi).unwrap();
    assert_eq!(member.next(), Step::OneShot(OneShot::Nmi));
    assert!(member.take(OneShot::Nmi));
    assert!(!member.take(OneShot::Nmi));
    assert_eq!(member.next(), Step::Enter);
    drop(member);
    assert!(group.ask(0, OneShot::Nmi).is_err());
}

#[test]
fn a_pause_interrupts_a_ticket_and_the_wait_goes_on_afterwards() {
    let group = group(1);
    let (ticket, completer) = Ticket::new(&group);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    member.begin_ticket().unwrap();
    assert_eq!(member.next(), Step::Ticket);
    let pending = group.signal_all().unwrap();
    assert_eq!(member.wait_ticket(&ticket), Waited::Interrupted);
    drop(pending);
    assert_eq!(member.next(), Step::Ticket);
    completer.complete(Outcome::Done);
    assert_eq!(member.wait_ticket(&ticket), Waited::Done(Outcome::Done));
    assert_eq!(member.next(), Step::Enter);
}

#[test]
fn a_dropped_completer_fails_its_ticket() {
    let group = group(1);
    let (ticket, completer) = Ticket::new(&group);
    assert_eq!(ticket.outcome(), None);
    drop(completer);
    assert_eq!(ticket.outcome(), Some(Outcome::Failed));
}

#[test]
fn a_group_shows_its_words() {
    let group = group(2);
    group.kill(1);
    assert_eq!(format!("{group:?}"), "[Word(NEW epoch=0), Word(KILLED epoch=0)]");
    assert!(!group.is_empty() && self::group(0).is_empty());
}

#[test]
fn the_latency_is_that_from_the_request_to_the_last_ack() {
    let group = group(1);
    let before = Instant::now();
    let pending = group.signal_all().unwrap();
    let asked = Instant::now();
    while asked.elapsed().is_zero() {}
    let at_least = asked.elapsed();
    let quiesced = pending.wait_all().unwrap();
    assert!(at_least <= quiesced.latency() && quiesced.latency() <= before.elapsed());
}

#[test]
fn a_range_is_held_while_the_others_go_on() {
    let group = group(4);
    let (threads, counters) = run(&group);
    await_progress(&counters, &[0; 4]);
    let held = group.pause_range(1..3, Deadline::Never).unwrap();
    let still = sum(&counters);
    let others = |all: &[u64]| [all[0], all[3]];
    while others(&sum(&counters)).iter().zip(others(&still)).any(|(now, then)| *now == then) {
        thread::yield_now();
    }
    assert_eq!(sum(&counters)[1..3], still[1..3]);
    // A pause of all comes and goes meanwhile; the range stays held.
    drop(group.pause(Deadline::Never).unwrap());
    assert_eq!(sum(&counters)[1..3], still[1..3]);
    assert_eq!(held.resume(), Released::Running);
    await_progress(&counters, &still);
    // What the group does not have is left out.
    drop(group.pause_range(3..99, Deadline::Never).unwrap());
    drop(group.pause_range(7..9, Deadline::Never).unwrap());
    group.kill_all();
    join(threads);
}

#[test]
fn a_pause_of_some_does_not_wait_for_others() {
    let group = group(2);
    let mut stuck = group.member(0).unwrap();
    stuck.start().unwrap();
    stuck.enter().unwrap();
    let asked = group.signal_all().unwrap();
    drop(group.pause_range(1..2, Deadline::Never).unwrap());
    let error = group.pause_range(0..1, Deadline::After(Duration::from_millis(5))).map(drop);
    let Err(PauseError::Stuck(report)) = error else { panic!("it is stuck") };
    assert_eq!(report.members.iter().map(|m| m.member).collect::<Vec<_>>(), [0]);
    assert_eq!(group.words().map(Word::holders).collect::<Vec<_>>(), [1, 1]);
    drop(asked);
}

#[test]
fn all_have_entered_when_the_stronger_resume_returns() {
    let group = group(8);
    let (threads, counters) = run(&group);
    await_progress(&counters, &[0; 8]);
    for _ in 0..100 {
        let quiesced = group.pause(Deadline::Never).unwrap();
        let then = sum(&counters);
        let released = quiesced.release().wait_entered(Deadline::Never);
        assert_eq!(released, Ok(Released::Running));
        // This guest counts after it has entered: one that has not counted yet is in it.
        for (member, then) in then.iter().enumerate() {
            let moved = || counters[member].load(Ordering::Relaxed) > *then;
            let inside = group.word(member).unwrap().any(Word::IN_GUEST);
            assert!(inside || moved(), "member {member} has not been in the guest");
        }
    }
    group.kill_all();
    join(threads);
    group.wait_entered(Deadline::Never).unwrap();
}

#[test]
fn only_those_that_can_run_are_waited_for() {
    let group = group(5);
    let mut members: Vec<_> = (0..4).map(|index| group.member(index).unwrap()).collect();
    for member in &mut members {
        member.start().unwrap();
    }
    members[0].enter().unwrap();
    members[1].begin_ticket().unwrap();
    group.kill(2);
    let held = group.signal_range(3..4, Deadline::Never).unwrap();
    group.wait_entered(Deadline::Never).unwrap();
    drop(held);
    let stuck = group.wait_entered(Deadline::After(Duration::from_millis(5))).unwrap_err();
    assert_eq!(stuck.members.iter().map(|m| m.member).collect::<Vec<_>>(), [3]);
    assert!(stuck.to_string().contains("not reached the guest: member 3 (RUN"), "{stuck}");
}

#[test]
fn a_member_that_the_group_does_not_have_is_as_good_as_dead() {
    let group = group(2);
    for member in [2, 3, usize::MAX] {
        assert_eq!(group.ask(member, OneShot::Nmi), Err(Illegal::Dead));
        assert_eq!(group.reincarnate(member), Err(Illegal::Dead));
        group.kill(member);
        assert_eq!(group.word(member), None);
        assert!(group.member(member).is_none());
    }
}

#[test]
fn the_parts_of_a_pause_add_up_to_its_latency() {
    let group = group(4);
    let (threads, counters) = run(&group);
    await_progress(&counters, &sum(&counters));
    for _ in 0..50 {
        let paused = group.pause(Deadline::Never).unwrap();
        let parts = paused.parts();
        let all = parts.signalling + parts.stopping + parts.completing + parts.waking;
        assert_eq!(all, paused.latency(), "{parts:?}");
        // Of a pause beside another nobody stops: all had.
        let beside = group.pause(Deadline::Never).unwrap().parts();
        assert_eq!((beside.stopping, beside.completing), (Duration::ZERO, Duration::ZERO));
        paused.resume();
    }
    group.kill_all();
    join(threads);
}

#[test]
fn a_thread_that_is_no_member_waits_for_a_ticket_until_it_is_done_or_the_deadline() {
    let group = group(0);
    let (ticket, completer) = Ticket::new(&group);
    let limit = Deadline::After(Duration::from_millis(1));
    assert_eq!(group.wait_ticket(&ticket, limit), Err(NotDone));
    let waiter = {
        let (group, ticket) = (Arc::clone(&group), ticket.clone());
        thread::spawn(move || group.wait_ticket(&ticket, Deadline::Never))
    };
    completer.complete(Outcome::Failed);
    assert_eq!(waiter.join().unwrap(), Ok(Outcome::Failed));
    assert_eq!(group.wait_ticket(&ticket, limit), Ok(Outcome::Failed));
}
