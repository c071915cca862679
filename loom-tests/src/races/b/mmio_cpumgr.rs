//! mmio-cpumgr (cy #136, CH #7990).
//!
//! Mechanism: the CPU hotplug registers *are* the CPU manager. A vCPU that touches them waits for the
//! manager's lock, which pause() holds while it waits for that vCPU.
//!
//! Invariant: guest-visible registers are not the manager; no lock is reachable from an exit. Here a control
//! thread holds the manager's lock through the whole pause, and the registers are atomics.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{Mutex, join, lock, thread};
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
    let selector = Arc::new(AtomicU32::new(0));
    let select = {
        let selector = Arc::clone(&selector);
        move || {
            selector.store(1, Ordering::Release);
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(select).end());
    let managing = lock(&manager);
    drop(bed.pause());
    drop(managing);
    join(vcpu);
    assert_eq!(selector.load(Ordering::Acquire), 1);
}
