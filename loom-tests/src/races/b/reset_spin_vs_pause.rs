//! reset-spin-vs-pause (cy #96, CH #7798).
//!
//! Mechanism: a vCPU that wrote the reset register spins until it is killed. The VMM's thread, which would
//! kill it, is at a pause first, and the spinning vCPU never looks at that.
//!
//! Invariant: every wait of a guest's write ends on pause and on kill. A reset is a ticket that nobody ever
//! completes: the vCPU parks for the pause, waits again, and leaves with the kill.

use std::sync::Arc;

use vcpu_state::Ticket;

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

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
    let (ticket, completer) = Ticket::new(&bed.group);
    let resets = Arc::new(FutexWord::new(0));
    let reset = {
        let resets = Arc::clone(&resets);
        move || {
            resets.advance();
            Handled::Wait(ticket)
        }
    };
    let vcpus = vec![bed.spawn(0, Script::halt().exit(reset))];
    drop(bed.pause());
    await_at_least(&resets, 1);
    bed.end(vcpus);
    drop(completer);
}
