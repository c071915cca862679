//! resume-pause-aba (CH #7397).
//!
//! Mechanism: a new pause is armed before a vCPU has seen the resume. The vCPU, which only looks at the
//! pause flag, never leaves its park, so it never acknowledges the new request.
//!
//! Invariant: resume returns only after every word has left PAUSED, and an ack is tied to its request by the
//! epoch in the word; a vCPU that is still asleep in its park is taken back by the word itself.

use std::sync::Arc;

use vcpu_state::{Released, Word};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("resume-pause-aba", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
    shutdown: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            loop {
                if vm.wait_until(|vm| vm.paused || vm.shutdown).shutdown {
                    break;
                }
                vm.change(|vm| vm.acked = true);
                drop(vm.wait_until(|vm| !vm.paused));
            }
        })
    };
    for _ in 0..2 {
        vm.change(|vm| (vm.acked, vm.paused) = (false, true));
        drop(vm.wait_until(|vm| vm.acked));
        vm.change(|vm| vm.paused = false);
    }
    vm.change(|vm| vm.shutdown = true);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    for _ in 0..2 {
        assert_eq!(bed.pause().resume(), Released::Running);
        assert!(bed.group.words().all(|word| !word.any(Word::PAUSED)));
    }
    bed.end(vcpus);
}
