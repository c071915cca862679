//! activation-in-pause: the activator goes on while the VM is paused.
//!
//! Mechanism: a pause stops vCPUs and workers, and the activator is neither. An activation that began before the pause ends
//! under it: the device's word, its registers and its workers change while they are saved.
//!
//! Invariant: what the activator publishes it publishes as a member of the workers' group, so that the pause holds that, too. The
//! device's code, which may take its time, it calls as none: no pause waits for it.

use std::sync::Arc;

use devices::bus::Written;
use devices::virtio::lifecycle::State;
use devices::virtio::testing::Working;
use vcpu_state::{Group, Kick, Outcome, Ticket};

use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The device's code comes back under the pause.
pub const ACTIVATION: Model = Model::race("activation-in-pause", historic, FINDING, activation)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// A reset is asked for before the pause.
pub const RESET: Model =
    Model::basic("reset-in-pause", reset).explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// The VM ends while it is paused, with an activation owed.
pub const STOPPED: Model = Model::basic("activator-stop-in-pause", stopped)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("a device changes while its VM is paused");

fn historic() {
    let vcpus_paused = Arc::new(Monitor::new(false));
    let active = Arc::new(AtomicBool::new(false));
    let activator = {
        let active = Arc::clone(&active);
        thread::spawn(move || active.store(true, Ordering::Release))
    };
    vcpus_paused.change(|paused| *paused = true);
    let saved = active.load(Ordering::Acquire);
    let same = active.load(Ordering::Acquire) == saved;
    assert!(same, "a device changes while its VM is paused");
    join(activator);
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

/// A device up to DRIVER_OK.
fn device() -> Device {
    Device::new(&Group::new(1, Box::new(NoKick)), Working::Serves, 1, 1)
}

/// A write of the status register that takes its time.
fn write(device: &Device, status: u8) -> Ticket {
    match device.registers.write_status(status) {
        Written::Wait(ticket) => ticket,
        Written::Done => panic!("it was done at once"),
    }
}

/// Looks twice at what a snapshot would save. The caller holds the workers.
fn assert_unchanged(device: &Device, ticket: &Ticket) {
    let look =
        || (device.registers.word(), ticket.outcome(), device.registers.queues()[0].is_enabled());
    let saved = look();
    device.assert_still();
    assert!(look() == saved, "a device changes while its VM is paused: {saved:?}");
    let owed = saved.1.is_none();
    assert_eq!(owed, saved.0.is_owed(), "the ticket and the word disagree: {saved:?}");
}

fn activation() {
    let mut device = device();
    let gate = device.gate();
    let ticket = write(&device, 15);
    let paused = device.pause();
    assert_eq!(device.registers.word().state(), State::Activating);
    gate.advance();
    assert_unchanged(&device, &ticket);
    drop(paused);
    assert_eq!(device.wait(&ticket), Outcome::Done);
    assert_eq!(device.registers.word().state(), State::Active);
    device.send(0);
    device.await_served(1);
    device.end();
}

fn reset() {
    let device = device();
    assert_eq!(device.write_status(15), Outcome::Done);
    let ticket = write(&device, 0);
    let paused = device.pause();
    assert_unchanged(&device, &ticket);
    drop(paused);
    assert_eq!(device.wait(&ticket), Outcome::Done);
    assert_eq!((device.registers.word().status(), device.workers()), (0, 0));
    device.end();
}

fn stopped() {
    let device = device();
    let ticket = write(&device, 15);
    let paused = device.pause();
    let saved = device.registers.word();
    let seats = Arc::clone(&device.registers);
    device.end();
    assert!(ticket.outcome().is_some(), "nobody is told");
    assert!(seats.word() == saved, "a device changes while its VM is paused");
    drop(paused);
}
