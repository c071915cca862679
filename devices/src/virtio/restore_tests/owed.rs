//! What was owed to a driver when its machine stood still: an activation, a reset, the reset of a queue, a ring that comes back.

use std::sync::atomic::Ordering;

use vcpu_state::sync::FutexWord;

use super::*;
use crate::virtio::QueueState;
use crate::virtio::lifecycle::status;
use crate::virtio::testing::{Activating, Buffers, TestDevice, Working};

fn device(queues: usize) -> Arc<TestDevice> {
    Arc::new(TestDevice::new(queues, 8, Working::Serves))
}

fn machine(queues: u16) -> (Machine, Arc<TestDevice>) {
    let device = device(queues.into());
    (Machine::new(Arc::clone(&device) as _, Driver::queues(queues, 8)), device)
}

/// One request, and its answer.
fn serve(machine: &mut Machine, queue: usize) {
    let sent = machine.drivers[queue].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    let used = machine.await_used(queue);
    assert_eq!(used, (sent.head, 0));
}

#[test]
fn an_activation_that_was_owed_is_done_in_the_next_machine_and_the_status_reads_so_at_once() {
    let (mut machine, slow) = machine(1);
    let until = Arc::new(FutexWord::new(0));
    slow.then(Activating::Slowly(Arc::clone(&until)));
    machine.set_up(0);
    // The vCPU waits for a ticket of this machine, and in the next for nothing.
    let Written::Wait(_ticket) = machine.function.write_bar(BAR, STATUS, &[15]) else { panic!() };
    let sent = machine.drivers[0].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    let still = machine.pause();
    let saved = machine.save();
    drop(still);
    until.advance();
    let drivers = machine.end();
    let fresh = device(1);
    let held_back = Arc::new(FutexWord::new(0));
    fresh.then(Activating::Slowly(Arc::clone(&held_back)));
    let mut machine = Machine::restored(&saved, Arc::clone(&fresh) as _, drivers);
    assert_eq!((machine.state(), machine.read(STATUS, 1)), (State::Activating, 15));
    held_back.advance();
    machine.await_interrupt(0);
    assert_eq!(
        machine.drivers[0].used(),
        Some((sent.head, 0)),
        "made available before the worker came"
    );
    machine.await_state(State::Active);
    assert_eq!(fresh.seen.activations.load(Ordering::SeqCst), 1);
    serve(&mut machine, 0);
}

#[test]
fn a_reset_that_was_owed_is_done_in_the_next_machine_and_the_status_reads_0_only_then() {
    let (mut machine, _) = machine(1);
    machine.start(0);
    let still = machine.pause();
    let Written::Wait(_ticket) = machine.function.write_bar(BAR, STATUS, &[0]) else { panic!() };
    let saved = machine.save();
    drop(still);
    let mut machine = {
        let drivers = machine.end();
        let saved: SavedVirtioPci = postcard::from_bytes(&saved).unwrap();
        let mut new = Machine::new(device(1), drivers);
        let held = new.pause();
        new.function.restore(&saved).unwrap();
        assert_eq!((new.state(), new.read(STATUS, 1)), (State::Resetting, 15));
        drop(held);
        new.settle();
        new
    };
    machine.await_state(State::Inactive);
    assert_eq!(machine.read(STATUS, 1), 0);
    machine.drivers[0].forget();
    machine.start(0);
    serve(&mut machine, 0);
}

#[test]
fn a_queue_whose_reset_was_owed_is_let_go_of_and_comes_back_and_others_go_on() {
    let (mut machine, _) = machine(2);
    machine.start(Features::RING_RESET);
    serve(&mut machine, 0);
    serve(&mut machine, 1);
    let still = machine.pause();
    machine.write(0x16, 2, 1);
    machine.write(0x3a, 2, 1);
    assert_eq!(machine.read(0x3a, 2), 1, "its worker stands still");
    let saved = machine.save();
    drop(still);
    let drivers = machine.end();
    let mut machine = Machine::restored(&saved, device(2), drivers);
    while machine.read(0x3a, 2) == 1 {
        thread::yield_now();
    }
    assert_eq!(machine.function.registers().queues()[1].state(), QueueState::Empty);
    serve(&mut machine, 0);
    // Moved once more, without a ring.
    let mut machine = machine.moved(|| device(2));
    machine.drivers[1].forget();
    machine.enable(1);
    serve(&mut machine, 1);
    serve(&mut machine, 0);
}

#[test]
fn a_queue_that_was_to_come_back_does_so_in_the_next_machine() {
    let (mut machine, _) = machine(2);
    machine.start(Features::RING_RESET);
    serve(&mut machine, 1);
    machine.write(0x16, 2, 1);
    machine.write(0x3a, 2, 1);
    while machine.read(0x3a, 2) == 1 {
        thread::yield_now();
    }
    let still = machine.pause();
    machine.drivers[1].forget();
    machine.enable(1);
    assert_eq!(machine.function.registers().queues()[1].state(), QueueState::Returning);
    let saved = machine.save();
    drop(still);
    let drivers = machine.end();
    let mut machine = Machine::restored(&saved, device(2), drivers);
    serve(&mut machine, 1);
    serve(&mut machine, 0);
}

#[test]
fn a_broken_device_is_broken_in_the_next_machine_and_its_reset_mends_it() {
    let broken = Arc::new(TestDevice::new(1, 8, Working::Fails));
    let mut machine = Machine::new(broken, Driver::queues(1, 8));
    machine.start(0);
    machine.drivers[0].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    machine.await_state(State::Failed);
    let mut machine = machine.moved(|| device(1));
    assert_eq!(machine.state(), State::Failed);
    assert_ne!(machine.read(STATUS, 1) & u64::from(status::NEEDS_RESET), 0);
    assert!(machine.interrupted(0), "the driver is told of it, perhaps again");
    machine.drivers[0].forget();
    machine.start(0);
    serve(&mut machine, 0);
}

#[test]
fn masks_pending_interrupts_and_everything_else_that_a_driver_reads_is_as_it_was() {
    let (mut machine, _) = machine(2);
    machine.start(0);
    // Queue 1's vector is masked, and then interrupts.
    let _ = machine.function.write_bar(BAR, 0x4000 + 2 * 16 + 12, &[1, 0, 0, 0]);
    machine.settle();
    let sent = machine.drivers[1].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    while machine.read(0x6000, 8) == 0 {
        thread::yield_now();
    }
    let all = |machine: &Machine| -> Vec<u64> {
        let common = (0..0x3c).step_by(4).filter(|at| *at != 0x14).map(|at| machine.read(at, 4));
        let table = (0x4000..0x4030).step_by(4).map(|at| machine.read(at, 4));
        let config = (0..256).step_by(4).map(|at| machine.pci.read_config(machine.slot, at).into());
        common.chain(table).chain(config).collect()
    };
    machine.write(0x16, 2, 1);
    machine.write(0x08, 4, 1);
    let before = all(&machine);
    let bars = machine.pci.platform.doorbells();
    let mut machine = machine.moved(|| device(2));
    machine.await_state(State::Active);
    assert_eq!(all(&machine), before);
    assert_eq!(machine.pci.platform.doorbells(), bars, "the BAR is where it was");
    assert_eq!(machine.read(0x6000, 8) & 0b100, 0b100, "the vector's pending bit");
    assert!(!machine.interrupted(2), "it is masked");
    let _ = machine.function.write_bar(BAR, 0x4000 + 2 * 16 + 12, &[0, 0, 0, 0]);
    machine.settle();
    assert!(machine.interrupted(2));
    assert_eq!(machine.drivers[1].used(), Some((sent.head, 0)));
}
