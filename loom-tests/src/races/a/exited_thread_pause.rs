//! exited-thread-pause (CH, read).
//!
//! Mechanism: a vCPU thread has left its loop, after a triple fault or a failing KVM_RUN. A pause waits for
//! its ack for ever.
//!
//! Invariant: DEAD counts as quiescent, and a member publishes it on every way out of its thread.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("exited-thread-pause", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(4));

#[derive(Default)]
struct Vm {
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
            // KVM_RUN failed.
        })
    };
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    vm.change(|vm| vm.paused = false);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpu = bed.spawn(0, Script::halt().end());
    drop(bed.pause());
    join(vcpu);
    drop(bed.pause());
    assert!(bed.group.words().all(|word| word.any(Word::DEAD) && word.holders() == 0));
}
