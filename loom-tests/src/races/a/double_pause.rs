//! double-pause (CH #7948).
//!
//! Mechanism: a pause of what is paused asks again and waits for an ack of workers that are parked already.
//!
//! Invariant: pause is idempotent. A parked word is PAUSED for a second pauser the moment that it asks;
//! nested pausers are counted, and only the last one out resumes.

use std::sync::Arc;

use vcpu_state::Released;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("double-pause", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let worker = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
            drop(vm.wait_until(|vm| !vm.paused));
        })
    };
    for _ in 0..2 {
        vm.change(|vm| (vm.acked, vm.paused) = (false, true));
        drop(vm.wait_until(|vm| vm.acked));
    }
    vm.change(|vm| vm.paused = false);
    join(worker);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    let (outer, inner) = (bed.pause(), bed.pause());
    assert_eq!(outer.resume(), Released::StillHeld);
    bed.assert_still();
    assert_eq!(inner.resume(), Released::Running);
    bed.end(vcpus);
}
