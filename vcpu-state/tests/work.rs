//! Work items: every request is answered by a round that began after it, on every path.

use std::sync::Arc;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Attendant, Group, Kick, Outcome, WorkItem};

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _member: usize) {}
}

fn item() -> (WorkItem, Attendant, Arc<FutexWord>) {
    let bell = Arc::new(FutexWord::new(0));
    let (item, attendant) = WorkItem::new(&Group::new(1, Box::new(NoKick)), &bell);
    (item, attendant, bell)
}

#[test]
fn nothing_asked_is_no_round() {
    let (_item, mut attendant, bell) = item();
    assert!(attendant.begin().is_none());
    assert_eq!(bell.load(), 0);
}

#[test]
fn a_round_answers_all_that_was_asked_before_it_began() {
    let (item, mut attendant, bell) = item();
    let (first, second) = (item.request(), item.request());
    assert_eq!(bell.load(), 2, "every request rings");
    let round = attendant.begin().unwrap();
    let late = item.request();
    assert_eq!([first.outcome(), second.outcome(), late.outcome()], [None; 3]);
    round.complete(Outcome::Done);
    assert_eq!([first.outcome(), second.outcome()], [Some(Outcome::Done); 2]);
    assert_eq!(late.outcome(), None, "the round may have looked before this was asked");
    attendant.begin().unwrap().complete(Outcome::Done);
    assert_eq!(late.outcome(), Some(Outcome::Done));
    assert!(attendant.begin().is_none());
}

#[test]
fn a_round_that_is_dropped_fails_and_the_next_one_may_succeed() {
    let (item, mut attendant, _bell) = item();
    let failed = item.request();
    drop(attendant.begin().unwrap());
    assert_eq!(failed.outcome(), Some(Outcome::Failed));
    let done = item.request();
    attendant.begin().unwrap().complete(Outcome::Done);
    assert_eq!(done.outcome(), Some(Outcome::Done));
}

#[test]
fn a_round_that_panics_fails() {
    let (item, mut attendant, _bell) = item();
    let ticket = item.request();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _round = attendant.begin().unwrap();
        panic!("in the middle of the work");
    }));
    assert!(panicked.is_err());
    assert_eq!(ticket.outcome(), Some(Outcome::Failed));
}

#[test]
fn without_an_attendant_every_request_fails_but_what_was_done_stays_done() {
    let (item, mut attendant, _bell) = item();
    let done = item.request();
    attendant.begin().unwrap().complete(Outcome::Done);
    let asked = item.request();
    drop(attendant);
    let late = item.request();
    assert_eq!(done.outcome(), Some(Outcome::Done));
    assert_eq!([asked.outcome(), late.outcome()], [Some(Outcome::Failed); 2]);
}

#[test]
fn a_round_may_outlive_its_attendant() {
    let (item, mut attendant, _bell) = item();
    let ticket = item.request();
    let round = attendant.begin().unwrap();
    drop(attendant);
    round.complete(Outcome::Done);
    assert_eq!(ticket.outcome(), Some(Outcome::Done));
}

#[test]
fn a_request_after_the_attendant_has_gone_fails_whatever_was_asked_before() {
    let (item, attendant, bell) = item();
    drop(attendant);
    for _ in 0..3 {
        assert_eq!(item.request().outcome(), Some(Outcome::Failed));
    }
    assert_eq!(bell.load(), 3, "it may be attended by a thread that attends others, too");
}
