//! mmio-cpumgr (cy #136, CH #7990).
//!
//! Mechanism: the CPU hotplug registers *are* the CPU manager. A vCPU that touches them waits for the
//! manager's lock, which pause() holds while it waits for that vCPU.
//!
//! Invariant: guest-visible registers are not the manager; no lock is reachable from an exit. Here a control
//! thread holds the manager's lock through the whole pause, and the registers are production's.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::{Mutex, join, lock, thread};
use crate::cpus::{ENABLED, Hotplug};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("mmio-cpumgr", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(4));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
}

fn historic() {
    let manager = Arc::new(Mutex::new(()));
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let (manager, vm) = (Arc::clone(&manager), Arc::clone(&vm));
        thread::spawn(move || {
            // An MMIO exit.
            drop(lock(&manager));
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    let managing = lock(&manager);
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    drop(managing);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let manager = Mutex::new(());
    let hotplug = Hotplug::new(2);
    let touch = {
        let hotplug = hotplug.clone();
        move || {
            assert_eq!(hotplug.status(1), ENABLED);
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(touch).end());
    let managing = lock(&manager);
    drop(bed.pause());
    drop(managing);
    join(vcpu);
    assert_eq!(hotplug.selected(), 1);
}
