//! hotplug-visible-early (CH #8369).
//!
//! Mechanism: the register says that a device is there before the device is on the bus. The guest, which polls,
//! probes it and finds nothing.
//!
//! Invariant: publish last. Whoever sees a vCPU as present finds its slot reborn and its thread on the way.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("hotplug-visible-early", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("present, but not there");

fn historic() {
    let present = Arc::new(AtomicBool::new(false));
    let inserted = Arc::new(AtomicBool::new(false));
    let guest = {
        let (present, inserted) = (Arc::clone(&present), Arc::clone(&inserted));
        thread::spawn(move || {
            if present.load(Ordering::Acquire) {
                assert!(inserted.load(Ordering::Acquire), "present, but not there");
            }
        })
    };
    present.store(true, Ordering::Release);
    inserted.store(true, Ordering::Release);
    join(guest);
}

fn ours() {
    let bed = Bed::new(2);
    // The slot had a vCPU before.
    bed.group.kill(1);
    drop(bed.group.member(1));
    let present = Arc::new(AtomicBool::new(false));
    let probe = {
        let (present, group) = (Arc::clone(&present), Arc::clone(&bed.group));
        move || {
            // Acquire: pairs with the release that publishes.
            if present.load(Ordering::Acquire) {
                let word = group.word(1);
                let there = word.is_some_and(|word| !word.any(Word::DEAD | Word::KILLED));
                assert!(there, "present, but not there: {word:?}");
            }
            Handled::Done
        }
    };
    let guest = bed.spawn(0, Script::halt().exit(probe).end());
    assert_eq!(bed.group.reincarnate(1), Ok(()));
    let plugged = bed.spawn(1, Script::halt());
    present.store(true, Ordering::Release);
    join(guest);
    bed.end(vec![plugged]);
}
