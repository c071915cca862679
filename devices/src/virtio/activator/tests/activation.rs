//! DRIVER_OK, by one vCPU and by several, and activations that are slow, fail, or panic.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Group, Outcome, Quiesced, Ticket, Word};

use super::{Bed, NoKick};
use crate::bus::Written;
use crate::virtio::lifecycle::{Cause, State, status};
use crate::virtio::testing::{Activating, Driver, TestDevice, Working};
use crate::virtio::{Activator, ActivatorEnd, Area, Half, RegisterParts, Registers};

#[test]
fn four_vcpus_that_write_driver_ok_activate_once() {
    for _ in 0..50 {
        let bed = Bed::new(Working::Serves);
        bed.negotiate();
        let vcpus: Vec<_> = (0..4).map(|index| bed.vcpu(index, 15)).collect();
        for vcpu in vcpus {
            assert_eq!(vcpu.join().unwrap(), Some(Outcome::Done));
        }
        assert_eq!(bed.state(), State::Active);
        assert_eq!(bed.seen(|seen| &seen.activations), 1);
        assert_eq!(bed.registers.word().generation(), 1);
    }
}

#[test]
fn a_failing_and_a_panicking_activation_end_the_wait_and_need_a_reset() {
    for (activating, cause) in
        [(Activating::Fails, Cause::Activation), (Activating::Panics, Cause::Panic)]
    {
        let mut bed = Bed::new(Working::Serves);
        bed.device.then(activating);
        bed.negotiate();
        assert_eq!(bed.vcpu(0, 15).join().unwrap(), Some(Outcome::Failed));
        let word = bed.registers.word();
        assert_eq!((word.state(), word.cause()), (State::Failed, Some(cause)));
        assert!(word.has(status::NEEDS_RESET));
        assert_eq!(bed.drivers[0].interrupts.config(), 1);
        assert_eq!(bed.registers.counts().failures.get(), 1);
        // The activator goes on, and so does the device after a reset.
        assert_eq!(bed.write(0), Outcome::Done);
        assert_eq!(bed.registers.word().status(), 0);
        assert_eq!(bed.activate(), Outcome::Done);
        bed.send();
        bed.await_served(1);
    }
}

#[test]
fn queues_that_cannot_be_fail_the_activation() {
    type Spoil = fn(&Registers);
    let spoils: [Spoil; 6] = [
        // Nobody has said where its available ring is.
        |_| {},
        |registers| registers.queues()[0].set_size(0),
        |registers| registers.queues()[0].set_size(3),
        |registers| registers.queues()[0].set_size(16),
        |registers| registers.queues()[0].set_address_half(Area::Device, Half::Low, 2),
        |registers| registers.queues()[0].set_address_half(Area::Driver, Half::High, 1),
    ];
    for spoil in spoils {
        let bed = Bed::new(Working::Serves);
        for value in [1, 3] {
            assert_eq!(bed.write(value), Outcome::Done);
        }
        bed.registers.accept(1, 1);
        assert_eq!(bed.write(11), Outcome::Done);
        spoil(&bed.registers);
        bed.registers.queues()[0].enable();
        assert_eq!(bed.write(15), Outcome::Failed);
        assert_eq!(bed.registers.word().cause(), Some(Cause::Queue));
        assert_eq!(bed.seen(|seen| &seen.activations), 0, "the device is not asked");
    }
}

#[test]
fn a_slow_activation_holds_up_no_pause_and_the_vcpu_waits_for_the_same_ticket_afterwards() {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    bed.negotiate();
    let vcpus: Vec<_> = (0..4).map(|index| bed.vcpu(index, 15)).collect();
    for _ in 0..100 {
        let paused = [
            bed.vcpus.pause(Deadline::Never).unwrap(),
            bed.activator.workers().pause(Deadline::Never).unwrap(),
        ];
        assert_ne!(bed.state(), State::Active, "nobody has opened the gate");
        drop(paused);
    }
    gate.advance();
    for vcpu in vcpus {
        assert_eq!(vcpu.join().unwrap(), Some(Outcome::Done));
    }
    assert_eq!(bed.seen(|seen| &seen.activations), 1);
}

#[test]
fn an_activation_that_ends_under_a_pause_is_published_after_it() {
    for activating in [Activating::Slowly as fn(_) -> _, Activating::FailsSlowly] {
        let (mut bed, paused, ticket) = ended_under_a_pause(activating);
        assert_eq!((bed.state(), ticket.outcome()), (State::Activating, None));
        assert_eq!((bed.registers.word().status(), bed.drivers[0].interrupts.config()), (15, 0));
        drop(paused);
        match bed.wait(&ticket) {
            Outcome::Failed => assert_eq!(bed.drivers[0].interrupts.config(), 1),
            Outcome::Done => {
                bed.send();
                bed.await_served(1);
            }
        }
    }
}

#[test]
fn the_activator_can_be_stopped_under_a_pause() {
    let (mut bed, paused, ticket) = ended_under_a_pause(Activating::Slowly);
    bed.activator.stop();
    assert_eq!(bed.activator.wait_end(Duration::MAX), ActivatorEnd::Ended);
    assert_eq!((bed.state(), ticket.outcome()), (State::Activating, Some(Outcome::Failed)));
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    drop(paused);
    bed.send();
    assert_eq!(bed.device.seen.taken.load(), 0);
}

/// A device whose activation has begun before a pause, and whose code has come back under it.
fn ended_under_a_pause(activating: fn(Arc<FutexWord>) -> Activating) -> (Bed, Quiesced, Ticket) {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(activating(Arc::clone(&gate)));
    bed.negotiate();
    let Written::Wait(ticket) = bed.registers.write_status(15) else { panic!("it takes time") };
    while bed.seen(|seen| &seen.activations) == 0 {
        thread::yield_now();
    }
    let paused = bed.pause_between_turns();
    gate.advance();
    bed.await_desk(Word::PAUSED);
    (bed, paused, ticket)
}

#[test]
fn a_kill_ends_the_wait_for_a_slow_activation() {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    bed.negotiate();
    let vcpu = bed.vcpu(0, 15);
    bed.vcpus.kill_all();
    assert_eq!(vcpu.join().unwrap(), None);
    gate.advance();
}

#[test]
fn who_waits_when_the_activator_stops_is_told() {
    let bed = Bed::new(Working::Serves);
    bed.negotiate();
    bed.activator.stop();
    let ended = bed.write(15);
    // The stop may come before or after the request.
    assert!(ended == Outcome::Failed || bed.state() == State::Active);
}

#[test]
fn a_device_that_comes_after_the_activator_has_stopped_keeps_nobody_waiting() {
    let bed = Bed::new(Working::Serves);
    bed.activator.stop();
    let parts = RegisterParts {
        device: Arc::clone(&bed.device) as _,
        memory: bed.drivers[0].memory.clone(),
        interrupt: Arc::clone(&bed.drivers[0].interrupts) as _,
    };
    let late = Registers::new(parts, &bed.activator).unwrap();
    let Written::Wait(ticket) = late.write_status(0) else { panic!("a reset takes time") };
    assert_eq!(bed.wait(&ticket), Outcome::Failed);
}

#[test]
fn an_activator_that_never_ran_keeps_nobody_waiting() {
    let vcpus = Group::new(0, Box::new(NoKick));
    let (activator, thread) = Activator::new(&vcpus, 1);
    let driver = Driver::queues(1, 8).remove(0);
    let parts = RegisterParts {
        device: Arc::new(TestDevice::new(1, 8, Working::Serves)),
        memory: driver.memory.clone(),
        interrupt: Arc::clone(&driver.interrupts) as _,
    };
    let registers = Registers::new(parts, &activator).unwrap();
    let Written::Wait(ticket) = registers.write_status(0) else { panic!("a reset takes time") };
    drop(thread);
    assert_eq!(vcpus.wait_ticket(&ticket, Deadline::Never), Ok(Outcome::Failed));
}
