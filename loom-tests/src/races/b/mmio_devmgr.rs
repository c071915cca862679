//! mmio-devmgr (CH #8028).
//!
//! Mechanism: the PCI hotplug registers *are* the device manager: a vCPU that ejects a device waits for the
//! manager's lock, which the thread holds that pauses the devices, and waits for that vCPU.
//!
//! Invariant: an eject posts a bit and a doorbell; the manager's thread takes it when it has time, exactly
//! once, and holds what it likes meanwhile.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{FutexWord, Mutex, await_at_least, join, lock, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("mmio-devmgr", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
}

fn historic() {
    let devices = Arc::new(Mutex::new(1));
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let (devices, vm) = (Arc::clone(&devices), Arc::clone(&vm));
        thread::spawn(move || {
            // A write to the eject register.
            *lock(&devices) -= 1;
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    let devices = lock(&devices);
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    drop(devices);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let devices = Mutex::new(1);
    let eject = Arc::new((AtomicU32::new(0), FutexWord::new(0)));
    let post = {
        let eject = Arc::clone(&eject);
        move || {
            let (bits, doorbell) = &*eject;
            // Release: pairs with the manager's swap.
            bits.fetch_or(1 << 3, Ordering::Release);
            doorbell.advance();
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(post).end());
    let mut managed = lock(&devices);
    drop(bed.pause());
    let (bits, doorbell) = &*eject;
    await_at_least(doorbell, 1);
    *managed -= bits.swap(0, Ordering::Acquire).count_ones();
    assert_eq!(*managed, 0);
    drop(managed);
    join(vcpu);
}
