//! activate-vs-migration (cy #105, CH #8462).
//!
//! Mechanism: the migration's worker owns the VM object while it runs. An activation that the guest asks for
//! meanwhile finds no VM, and nobody releases the vCPU; the worker then pauses it, and waits.
//!
//! Invariant: the activator never loses the right to run. The worker holds a handle on the words; who owns
//! the VM object is irrelevant to a ticket.

use std::sync::Arc;

use devices::virtio::testing::Working;
use vcpu_state::Outcome;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("activate-vs-migration", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "that protocol is made of flags")]
struct Vm {
    owned_by_worker: bool,
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
    let worker = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            vm.change(|vm| vm.owned_by_worker = true);
            vm.change(|vm| vm.paused = true);
            drop(vm.wait_until(|vm| vm.acked));
            vm.change(|vm| vm.owned_by_worker = false);
        })
    };
    // The control loop: the event comes once, and without a VM there is nothing to be done about it.
    drop(vm.wait_until(|vm| vm.to_activate));
    vm.change(|vm| vm.activated = !vm.owned_by_worker);
    join(worker);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let device = Device::new(&bed.group, Working::Serves, 0, 0);
    let vcpu = bed.spawn(0, Script::halt().exit(device.status_handler(15)).end());
    // The main thread owns the VM, and does nothing for the activation.
    drop(bed.pause());
    assert_eq!(join(vcpu).outcomes, [Outcome::Done]);
    device.end();
}
