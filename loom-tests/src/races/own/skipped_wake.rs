//! skipped-wake: a resume leaves the wake of its threads to the pause that has come meanwhile.
//!
//! Mechanism: threads are woken some time after a resume. If somebody has paused again before, nobody needs them, and his
//! resume will wake them. But who pauses may hold only some of them: the others sleep although nobody holds them.
//!
//! Invariant: a wake is left out only if every member that the resume let go of, and that is still parked, is held again. The
//! release of its last holder comes later, finds it parked, and sees to its wake.

use std::sync::Arc;

use vcpu_state::{Deadline, PendingRange};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// Who pauses again holds some.
pub const SOME: Model = Model::race("skipped-wake", historic, Finding::Deadlock, some)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// Who pauses again holds all, comes at any time, and lets go at any time.
pub const ALL: Model =
    Model::basic("skipped-wake-of-all", all).explored(Bound::Preemptions(2), Bound::Preemptions(3));

struct Vm {
    holders: [u32; 2],
    wakes: u32,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm { holders: [1, 1], wakes: 0 }));
    let vcpus = [0, 1].map(|vcpu| {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            loop {
                let (held, seen) = vm.change(|vm| (vm.holders[vcpu] > 0, vm.wakes));
                if !held {
                    break;
                }
                drop(vm.wait_until(|vm| vm.wakes != seen));
            }
        })
    });
    vm.change(|vm| vm.holders = [0, 0]);
    vm.change(|vm| vm.holders[0] = 1);
    vm.change(|vm| {
        if vm.holders == [0, 0] {
            vm.wakes += 1;
        }
    });
    let [first, second] = vcpus;
    join(second);
    vm.change(|vm| (vm.holders[0], vm.wakes) = (0, vm.wakes + 1));
    join(first);
}

/// A guest that ends as soon as it runs.
fn spawn(bed: &Bed, vcpu: usize) -> thread::JoinHandle<crate::vcpu::Report> {
    bed.spawn(vcpu, Script::halt().end())
}

fn hold_first(bed: &Bed) -> PendingRange {
    match bed.group.signal_range(0..1, Deadline::Never) {
        Ok(held) => held,
        Err(error) => panic!("it has two holders: {error}"),
    }
}

fn some() {
    let bed = Bed::new(2);
    let [first, second] = [0, 1].map(|vcpu| spawn(&bed, vcpu));
    let resumed = bed.pause().release();
    let held = hold_first(&bed);
    drop(resumed);
    join(second);
    drop(held);
    join(first);
}

fn all() {
    let bed = Bed::new(1);
    let vcpu = spawn(&bed, 0);
    let resumed = bed.pause().release();
    let again = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    drop(resumed);
    join(again);
    join(vcpu);
}
