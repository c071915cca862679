//! activate-vs-pause (CH #3585 #3590).
//!
//! Mechanism: a vCPU that writes DRIVER_OK blocks on a barrier until the VMM's thread has activated the
//! device. A pause, on that thread, first drains the activations; a new one comes after the drain.
//!
//! Invariant: ACTIVATION_PENDING is itself a wait that a pause or kill request ends. The vCPU parks, and
//! goes back to waiting for the same ticket before it enters the guest again.

use std::sync::Arc;

use devices::virtio::testing::Working;
use vcpu_state::Outcome;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("activate-vs-pause", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "that protocol is made of flags")]
struct Vm {
    to_activate: bool,
    activated: bool,
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            vm.change(|vm| vm.to_activate = true);
            drop(vm.wait_until(|vm| vm.activated));
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    // The drain, and then the pause.
    vm.change(|vm| vm.activated = vm.to_activate);
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let device = Device::new(&bed.group, Working::Serves, 0, 0);
    // The activation does not end before the pause has.
    let gate = device.gate();
    let vcpu = bed.spawn(0, Script::halt().exit(device.status_handler(15)).end());
    drop(bed.pause());
    gate.advance();
    assert_eq!(join(vcpu).outcomes, [Outcome::Done]);
    device.end();
}
