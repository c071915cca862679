//! Workers: what they serve, how a pause finds them, and how they die.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vcpu_state::{Deadline, Outcome, Word};

use super::{Bed, await_at_least};
use crate::virtio::lifecycle::{Cause, State};
use crate::virtio::testing::{Buffers, Working};

#[test]
fn a_device_that_is_activated_serves_its_queue() {
    let mut bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    assert_eq!(bed.state(), State::Active);
    bed.send();
    bed.await_served(1);
    assert_eq!(bed.registers.counts().activations.get(), 1);
}

#[test]
fn requests_from_before_driver_ok_are_served() {
    let mut bed = Bed::new(Working::Serves);
    bed.send();
    bed.drivers[0].doorbell.clear();
    assert_eq!(bed.activate(), Outcome::Done);
    bed.await_served(1);
}

#[test]
fn more_workers_than_seats_fail_the_activation_and_give_every_seat_back() {
    let bed = Bed::with_queues(5, Working::Serves);
    assert_eq!(bed.activate(), Outcome::Failed);
    assert_eq!(bed.registers.word().cause(), Some(Cause::Activation));
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    let mut seats = bed.activator.workers().words().take(4);
    assert!(seats.all(|word| !word.any(Word::RUN | Word::DEAD)));
}

#[test]
fn a_pause_drains_what_is_in_flight_and_publishes_where_the_worker_stands() {
    let mut bed = Bed::new(Working::Holds);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    bed.send();
    await_at_least(&bed.device.seen.taken, 2);
    let paused = bed.activator.workers().pause(Deadline::Never).unwrap();
    assert_eq!(bed.device.seen.served.load(), 2);
    assert_eq!(bed.registers.queues()[0].position(), (2, 2));
    // Nothing goes on under the pause; what came meanwhile is served after it, doorbell or not.
    bed.send();
    bed.drivers[0].doorbell.clear();
    assert_eq!(bed.device.seen.taken.load(), 2);
    drop(paused);
    await_at_least(&bed.device.seen.taken, 3);
}

#[test]
fn a_worker_whose_drain_hangs_is_named_at_the_deadline_and_all_is_put_back() {
    let mut bed = Bed::with_queues(2, Working::Sticks);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    await_at_least(&bed.device.seen.taken, 1);
    let workers = Arc::clone(bed.activator.workers());
    // The other one sleeps in its poll, and the activator has nothing to publish.
    while !workers.word(1).unwrap().any(Word::IN_GUEST) || !bed.desk().is_quiescent() {
        thread::yield_now();
    }
    let asked = workers.signal_all_by(Deadline::After(Duration::ZERO)).unwrap();
    // One is in its drain, the other one has been.
    while bed.seen(|seen| &seen.drains) < 2 || !workers.word(1).unwrap().any(Word::PAUSED) {
        thread::yield_now();
    }
    let stuck = asked.wait_all().map(drop).unwrap_err();
    let named: Vec<_> = stuck.members.iter().map(|it| bed.activator.name_of(it.member)).collect();
    assert_eq!(named, ["test0-q0"]);
    assert!(workers.words().all(|word| word.holders() == 0 && !word.any(Word::PAUSED)));
    // The other one works, and the one that hangs goes on where its drain ends.
    bed.drivers[1].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    await_at_least(&bed.device.seen.taken, 2);
    assert_eq!(bed.device.seen.served.load(), 0);
    bed.device.seen.let_go.advance();
    bed.await_served(1);
    bed.send();
    await_at_least(&bed.device.seen.taken, 3);
    drop(workers.pause(Deadline::Never).unwrap());
    bed.await_served(3);
    assert_eq!(bed.activator.name_of(4), "activator");
}

#[test]
fn no_request_is_lost_under_pauses() {
    let mut bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    let workers = Arc::clone(bed.activator.workers());
    let pauser = thread::spawn(move || {
        for _ in 0..500 {
            drop(workers.pause(Deadline::Never).unwrap());
        }
    });
    for count in 1..=500 {
        bed.send();
        bed.await_served(count);
    }
    pauser.join().unwrap();
}

#[test]
fn a_worker_that_dies_says_so_holds_up_no_pause_and_a_reset_revives_the_device() {
    for (working, cause) in [(Working::Fails, Cause::Malformed), (Working::Panics, Cause::Panic)] {
        let mut bed = Bed::new(working);
        assert_eq!(bed.activate(), Outcome::Done);
        bed.send();
        await_at_least(&bed.device.seen.ended, 1);
        bed.activator.workers().wait_dead(Deadline::Never).unwrap();
        let word = bed.registers.word();
        assert_eq!((word.state(), word.cause()), (State::Failed, Some(cause)));
        assert_eq!(bed.drivers[0].interrupts.config(), 1);
        let counts = bed.registers.counts();
        assert_eq!((counts.worker_deaths.get(), counts.failures.get()), (1, 1));
        assert_eq!(counts.malformed.get(), u64::from(cause == Cause::Malformed));
        drop(bed.activator.workers().pause(Deadline::Never).unwrap());
        assert_eq!(bed.write(0), Outcome::Done);
        assert_eq!(bed.activate(), Outcome::Done);
    }
}
