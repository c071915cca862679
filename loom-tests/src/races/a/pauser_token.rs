//! pauser-token (QEMU, gitlab issue 2187).
//!
//! Mechanism: two threads pause the VM at once, and each is one of those that the other waits for. Neither
//! answers while it waits.
//!
//! Invariant: requests compose: any number of pausers at once, no lock between them, and nobody who must
//! become quiescent ever pauses. A vCPU that wants the VM paused posts that to the control plane.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("pauser-token", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
struct Vm {
    stop: [bool; 2],
    stopped: [bool; 2],
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpus = [(0, 1), (1, 0)].map(|(me, other)| {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let stop = vm.lock().stop[me];
            if stop {
                vm.change(|vm| vm.stopped[me] = true);
                drop(vm.wait_until(|vm| !vm.stop[me]));
            }
            vm.change(|vm| vm.stop[other] = true);
            drop(vm.wait_until(|vm| vm.stopped[other]));
            vm.change(|vm| (vm.stop[other], vm.stopped[me]) = (false, true));
        })
    });
    vcpus.into_iter().for_each(join);
}

fn ours() {
    let bed = Bed::new(1);
    let posted = Arc::new(FutexWord::new(0));
    let post = {
        let posted = Arc::clone(&posted);
        move || {
            posted.advance();
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(post));
    let for_the_guest = {
        let bed = bed.clone();
        thread::spawn(move || {
            await_at_least(&posted, 1);
            bed.pause()
        })
    };
    let for_the_operator = bed.pause();
    bed.assert_still();
    drop(for_the_operator);
    let for_the_guest = join(for_the_guest);
    bed.assert_still();
    drop(for_the_guest);
    bed.end(vec![vcpu]);
}
