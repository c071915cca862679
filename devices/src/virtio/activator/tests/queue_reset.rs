//! Single queues that are reset and enabled again while the device works.

use super::*;
use crate::virtio::lifecycle::Cause;

fn active(queues: u16, working: Working) -> Bed {
    let bed = Bed::with_queues(queues, working);
    bed.negotiate_with(Features::RING_RESET);
    assert_eq!(bed.write(15), Outcome::Done);
    bed
}

/// Waits, as a driver does, until the reset is done.
fn await_reset(bed: &Bed, index: usize) {
    while bed.registers.queues()[index].state().is_resetting() {
        thread::yield_now();
    }
}

fn reset(bed: &Bed, index: usize) {
    assert!(bed.registers.reset_queue(index));
    await_reset(bed, index);
}

/// Holds all workers for a moment, after which each has looked at all of its queues.
fn turn(bed: &Bed) {
    for _ in 0..2 {
        drop(bed.activator.workers().signal_all().unwrap().wait_all().unwrap());
    }
}

#[test]
fn a_reset_queue_has_given_everything_back_and_its_memory_is_left_alone() {
    let mut bed = active(1, Working::Holds);
    bed.send();
    await_at_least(&bed.device.seen.taken, 1);
    reset(&bed, 0);
    let queue = &bed.registers.queues()[0];
    assert_eq!(queue.state(), QueueState::Empty);
    assert!(!queue.is_enabled());
    assert_eq!((queue.size(), queue.position()), (8, (0, 0)));
    assert_eq!(queue.address(Area::Descriptors), 0);
    assert_eq!(bed.seen(|seen| &seen.in_flight), 0);
    assert!(bed.drivers[0].used().is_some());
    // What the driver offers there now is nobody's.
    bed.send();
    bed.drivers[0].doorbell.notify();
    turn(&bed);
    assert_eq!(bed.device.seen.taken.load(), 1);
    assert!(bed.drivers[0].used().is_none());
    assert_eq!(bed.state(), State::Active);
}

#[test]
fn a_queue_that_is_enabled_again_goes_on_with_its_new_ring() {
    let mut bed = active(2, Working::Serves);
    for round in 1..=20 {
        bed.send();
        bed.await_served(2 * round - 1);
        reset(&bed, 0);
        // The other queue goes on.
        bed.drivers[1].send(&Buffers { readable: vec![b"y"], writable: vec![] });
        bed.await_served(2 * round);
        bed.drivers[0].forget();
        set_up(&bed.drivers[0], &bed.registers.queues()[0]);
    }
    bed.send();
    bed.await_served(41);
    assert_eq!(bed.seen(|seen| &seen.activations), 1);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Taken);
}

#[test]
fn a_paused_worker_lets_go_when_it_goes_on_and_delays_nobody() {
    let bed = active(1, Working::Serves);
    let workers = Arc::clone(bed.activator.workers());
    let still = workers.signal_all().unwrap().wait_all().unwrap();
    assert!(bed.registers.reset_queue(0));
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Leaving);
    drop(still);
    await_reset(&bed, 0);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Empty);
}

#[test]
fn a_reset_of_the_device_ends_a_reset_of_a_queue() {
    let bed = active(1, Working::Serves);
    let still = bed.pause_between_turns();
    assert!(bed.registers.reset_queue(0));
    let Written::Wait(reset) = bed.registers.write_status(0) else { panic!("a reset takes time") };
    drop(still);
    assert_eq!(bed.wait(&reset), Outcome::Done);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Disabled);
    assert_eq!(bed.activate(), Outcome::Done);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Taken);
}

#[test]
fn a_queue_of_a_dead_worker_is_reset_at_once() {
    let mut bed = active(1, Working::Fails);
    bed.send();
    while bed.state() != State::Failed {
        thread::yield_now();
    }
    reset(&bed, 0);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Disabled);
}

#[test]
fn a_queue_that_comes_back_as_none_breaks_the_device_until_its_reset() {
    let bed = active(1, Working::Serves);
    reset(&bed, 0);
    let queue = &bed.registers.queues()[0];
    queue.set_size(7);
    queue.enable();
    while bed.state() != State::Failed {
        thread::yield_now();
    }
    assert_eq!(bed.registers.word().cause(), Some(Cause::Queue));
    assert_eq!(bed.write(0), Outcome::Done);
    assert_eq!(bed.activate(), Outcome::Done);
}

#[test]
fn what_was_not_negotiated_or_is_not_there_is_not_reset() {
    let bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    assert!(!bed.registers.reset_queue(0));
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Taken);
    let bed = active(1, Working::Serves);
    assert!(!bed.registers.reset_queue(1));
    // What is being reset, or was, is reset once more by nothing.
    reset(&bed, 0);
    reset(&bed, 0);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Empty);
    // Before DRIVER_OK nobody has it.
    let bed = Bed::new(Working::Serves);
    bed.negotiate_with(Features::RING_RESET);
    reset(&bed, 0);
    assert_eq!(bed.registers.queues()[0].state(), QueueState::Disabled);
}
