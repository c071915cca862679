//! start-barrier-early-return (CH, read).
//!
//! Mechanism: the vCPU threads and the thread that starts them meet at a barrier. One of them fails before it
//! gets there, and all the others wait for ever.
//!
//! Invariant: a failed start publishes DEAD, and counts as an arrival. The threads start under a pause: each is still from its first
//! instruction, and none waits for another. The starter waits, by production's [`Startup`], until each has arrived or ended.

use std::sync::Arc;

use vcpu_state::{Deadline, Released, Word};
use vmm::vcpu::Startup;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model =
    Model::race("start-barrier-early-return", historic, Finding::Deadlock, ours)
        .explored(Bound::Preemptions(1), Bound::Preemptions(3));

fn historic() {
    let at_barrier = Arc::new(Monitor::new(0));
    let vcpus = [true, false].map(|can_start| {
        let barrier = Arc::clone(&at_barrier);
        thread::spawn(move || {
            if can_start {
                barrier.change(|arrived| *arrived += 1);
                drop(barrier.wait_until(|arrived| *arrived == 3));
            }
        })
    });
    at_barrier.change(|arrived| *arrived += 1);
    drop(at_barrier.wait_until(|arrived| *arrived == 3));
    vcpus.into_iter().for_each(join);
}

fn ours() {
    let bed = Bed::new(2);
    let booting = bed.pause();
    let startup = Startup::new();
    let starts = {
        let (vcpu, arrival) = (bed.vcpu(0, Script::halt().end()), startup.expect());
        thread::spawn(move || {
            arrival.arrive(Ok(()));
            vcpu.run()
        })
    };
    let fails = {
        let (vcpu, arrival) = (bed.vcpu(1, Script::halt()), startup.expect());
        // No KVM_RUN for this one: the thread cannot be pinned, say.
        thread::spawn(move || {
            arrival.arrive(Err("no such processor"));
            drop(vcpu);
        })
    };
    assert_eq!(startup.wait(), Err("no such processor"));
    bed.assert_still();
    assert_eq!(booting.resume(), Released::Running);
    join(starts);
    join(fails);
    assert_eq!(bed.group.wait_dead(Deadline::Never), Ok(()));
    assert!(bed.group.words().all(|word| word.any(Word::DEAD)));
}
