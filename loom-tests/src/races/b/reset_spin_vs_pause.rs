//! reset-spin-vs-pause (cy #96, CH #7798).
//!
//! Mechanism: a vCPU that wrote the reset register spins until it is killed. The VMM's thread, which would
//! kill it, is at a pause first, and the spinning vCPU never looks at that.
//!
//! Invariant: every wait of a guest's write ends on pause and on kill. Production's reset register notes the request and leaves a ticket
//! that is done when the VM is gone: the vCPU parks for the pause, waits again, and leaves with the kill.

use std::sync::Arc;

use vmm::control::GuestEvent;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::power::{Power, Way};

/// The pair.
pub const MODEL: Model = Model::race("reset-spin-vs-pause", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    killed: bool,
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let paused = vm.lock().paused;
            if paused {
                vm.change(|vm| vm.acked = true);
                drop(vm.wait_until(|vm| !vm.paused));
            }
            // The guest writes the reset register.
            drop(vm.wait_until(|vm| vm.killed));
        })
    };
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    vm.change(|vm| vm.paused = false);
    // The next event is the reset.
    vm.change(|vm| vm.killed = true);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let power = Power::new(&bed.group);
    let vcpus = vec![bed.spawn(0, Script::halt().exit(power.handler(Way::Reset)))];
    drop(bed.pause());
    power.await_request();
    assert_eq!(power.requests.asked(), Some(GuestEvent::Reset));
    bed.end(vcpus);
}
