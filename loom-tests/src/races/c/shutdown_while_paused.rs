//! shutdown-while-paused (CH #816).
//!
//! Mechanism: a killed vCPU stays parked, because its park looks at the pause flag only.
//!
//! Invariant: kill dominates pause. Here the pauser holds on until the thread is joined.

use std::sync::Arc;

use vcpu_state::{Deadline, Word};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("shutdown-while-paused", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(5));

#[derive(Default)]
struct Vm {
    paused: bool,
    killed: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm { paused: true, killed: false }));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            while !vm.lock().killed {
                drop(vm.wait_until(|vm| !vm.paused));
            }
        })
    };
    vm.change(|vm| vm.killed = true);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpu = bed.spawn_halted();
    let quiesced = bed.pause();
    bed.group.kill_all();
    assert_eq!(bed.group.wait_dead(Deadline::Never), Ok(()));
    bed.end(vcpu);
    assert!(bed.group.words().all(|word| word.any(Word::DEAD)));
    drop(quiesced);
}
