//! eject-pause-join (CH, read).
//!
//! Mechanism: a vCPU's write ejects another one: it tells it to stop and joins its thread. That one is parked
//! for a pause, which waits for the first.
//!
//! Invariant: a vCPU thread never joins; the control plane does, and the kill of a parked vCPU ends its park. The write is a request
//! that production's registers note; it leaves nothing to wait for.

use std::sync::Arc;

use devices::cpu_hotplug::Presence;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::cpus::Hotplug;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("eject-pause-join", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(0), Bound::Preemptions(1));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: [bool; 2],
    stop: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let serve_pause = |vm: &Monitor<Vm>, index: usize| {
        vm.change(|vm| vm.acked[index] = true);
        drop(vm.wait_until(|vm| !vm.paused));
    };
    let ejected = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let paused = vm.wait_until(|vm| vm.paused || vm.stop).paused;
            if paused {
                serve_pause(&vm, 1);
            }
            vm.change(|vm| vm.acked[1] = true);
        })
    };
    let ejector = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            vm.change(|vm| vm.stop = true);
            join(ejected);
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked[0] = true);
        })
    };
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked == [true; 2]));
    vm.change(|vm| vm.paused = false);
    join(ejector);
}

fn ours() {
    let bed = Bed::new(2);
    let hotplug = Hotplug::new(2);
    let eject = {
        let hotplug = hotplug.clone();
        move || hotplug.eject(1)
    };
    let ejector = bed.spawn(0, Script::halt().exit(eject).end());
    let ejected = bed.spawn(1, Script::halt());
    let pauser = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    hotplug.retire(&bed, 1, ejected);
    join(pauser);
    // It waited for nothing.
    let report = join(ejector);
    assert_eq!((report.exits, report.outcomes.len()), (2, 0));
    assert_eq!(hotplug.registers.presence(1), Presence::Absent);
}
