//! mmio-vcpustates (CH #8092 #8210, cy #152).
//!
//! Mechanism: as mmio-cpumgr, one lock further in. The wait phase iterates over the vCPUs' states under
//! their vector's lock, and a read of the hotplug status register takes the same one.
//!
//! Invariant: the lifecycle word is lock-free and anybody may read it; the wait phase holds nothing.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::{Mutex, join, lock, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("mmio-vcpustates", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

fn historic() {
    // What the second vCPU's state says is behind its own lock; the vector is behind another one.
    let states = Arc::new(Mutex::new([0; 2]));
    let acked = Arc::new(Monitor::new(false));
    let vcpu = {
        let (states, acked) = (Arc::clone(&states), Arc::clone(&acked));
        thread::spawn(move || {
            // An MMIO exit that reads another vCPU's status.
            let status = lock(&states)[1];
            acked.change(|acked| *acked = true);
            status
        })
    };
    let all = lock(&states);
    drop(acked.wait_until(|acked| *acked));
    drop(all);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(2);
    let group = Arc::clone(&bed.group);
    let status = move || {
        let word = group.word(1);
        assert!(word.is_some_and(Word::is_coherent), "no status of vCPU 1: {word:?}");
        Handled::Done
    };
    let reader = bed.spawn(0, Script::halt().exit(status).end());
    let other = bed.spawn(1, Script::halt());
    drop(bed.pause());
    assert_eq!(join(reader).exits, 2);
    bed.end(vec![other]);
}
