//! Resets and removals at any time.

use std::sync::Arc;
use std::thread;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Outcome, Word};

use super::{Bed, await_at_least};
use crate::bus::Written;
use crate::virtio::Area;
use crate::virtio::lifecycle::State;
use crate::virtio::testing::{Activating, Working};

#[test]
fn a_reset_in_the_middle_of_an_activation_is_the_last_word() {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    bed.negotiate();
    let starter = bed.vcpu(0, 15);
    while bed.seen(|seen| &seen.activations) == 0 {
        thread::yield_now();
    }
    let Written::Wait(reset) = bed.registers.write_status(0) else { panic!("a reset takes time") };
    assert_eq!(bed.registers.word().status(), 15, "the old status, until the workers are gone");
    gate.advance();
    assert_eq!(bed.wait(&reset), Outcome::Done);
    assert_eq!(starter.join().unwrap(), Some(Outcome::Done));
    assert_eq!((bed.state(), bed.registers.word().status()), (State::Inactive, 0));
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert_eq!(bed.activate(), Outcome::Done);
}

#[test]
fn a_reset_with_requests_in_flight_gives_them_back_before_the_status_reads_0() {
    let mut bed = Bed::new(Working::Holds);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    await_at_least(&bed.device.seen.taken, 1);
    assert_eq!(bed.device.seen.served.load(), 0);
    assert_eq!(bed.write(0), Outcome::Done);
    assert_eq!(bed.registers.word().status(), 0);
    assert_eq!(bed.device.seen.served.load(), 1);
    assert!(bed.drivers[0].used().is_some());
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert_eq!(bed.seen(|seen| &seen.resets), 1);
    assert!(!bed.registers.queues()[0].is_enabled());
    assert_eq!(bed.registers.queues()[0].address(Area::Driver), 0);
}

#[test]
fn a_device_with_a_dead_worker_can_be_removed() {
    let mut bed = Bed::with_queues(2, Working::Panics);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    while bed.state() != State::Failed {
        thread::yield_now();
    }
    let removal = bed.registers.remove();
    assert_eq!(bed.wait(&removal), Outcome::Done);
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert!(bed.registers.word().is_removed());
    // A driver that does not know yet gets nowhere, and is kept from nothing.
    assert_eq!(bed.write(1), Outcome::Done);
    assert_eq!(bed.registers.word().status(), 0);
}

#[test]
fn a_reset_that_is_asked_for_under_a_pause_waits_for_its_end() {
    let bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    let paused = bed.pause_between_turns();
    let Written::Wait(reset) = bed.registers.write_status(0) else { panic!("a reset takes time") };
    bed.await_desk(Word::PAUSED);
    assert_eq!((bed.state(), reset.outcome()), (State::Resetting, None));
    assert_eq!((bed.seen(|seen| &seen.workers), bed.registers.word().status()), (1, 15));
    drop(paused);
    assert_eq!(bed.wait(&reset), Outcome::Done);
    assert_eq!((bed.seen(|seen| &seen.workers), bed.registers.word().status()), (0, 0));
    let removal = bed.registers.remove();
    assert_eq!(bed.wait(&removal), Outcome::Done);
}

#[test]
fn resets_activations_and_pauses_at_random_leave_a_device_that_works() {
    let mut bed = Bed::new(Working::Serves);
    let workers = Arc::clone(bed.activator.workers());
    let vcpus = Arc::clone(&bed.vcpus);
    let pauser = thread::spawn(move || {
        for _ in 0..300 {
            drop((vcpus.pause(Deadline::Never).unwrap(), workers.pause(Deadline::Never).unwrap()));
        }
    });
    for round in 0..300 {
        bed.device.then(match round % 4 {
            1 => Activating::Fails,
            3 => Activating::Panics,
            _ => Activating::Succeeds,
        });
        let fails = round % 2 == 1;
        assert_eq!(bed.activate() == Outcome::Failed, fails, "round {round}");
        assert_eq!(bed.write(0), Outcome::Done);
        assert_eq!(bed.registers.word().status(), 0);
        assert_eq!(bed.seen(|seen| &seen.workers), 0);
    }
    pauser.join().unwrap();
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    bed.await_served(1);
}
