//! hotplug-visible-early (CH #8369).
//!
//! Mechanism: the register says that a device is there before the device is on the bus. The guest, which polls,
//! probes it and finds nothing.
//!
//! Invariant: publish last. A function becomes visible in one step, with its BARs placed, and is announced after it: who
//! is told of it, and who merely looks, finds all of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use devices::pci::Slot;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::pci::{Root, attend, bit, function};
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
    let bed = Bed::new(1);
    let (root, attendant) = Root::new(&bed.group);
    let attendant = attend(attendant);
    let Some(slot) = Slot::new(1) else { panic!("a bus has a slot 1") };
    let found = Arc::new(AtomicU64::new(0));
    let (polls, knows) = (Arc::clone(&root), Arc::clone(&found));
    let poll = move || {
        let announced = polls.read_event() && polls.read_up() & bit(slot) != 0;
        let present = polls.is_present(slot);
        assert!(present || !announced, "present, but not there");
        if !present {
            return Handled::Done;
        }
        let at = polls.bar(slot);
        assert!(at != 0, "present, but not placed");
        knows.store(at, Relaxed);
        polls.enable(slot)
    };
    let (looks, knows) = (Arc::clone(&root), Arc::clone(&found));
    let look = move || {
        let at = knows.load(Relaxed);
        assert!(at == 0 || looks.tag_at(at) == Some(1), "enabled, but it does not answer");
        Handled::Done
    };
    let guest = bed.spawn(0, Script::halt().exit(poll).exit(look).end());
    assert_eq!(root.insert(&function(1)), slot);
    root.announce(slot);
    join(guest);
    root.segment.stop();
    join(attendant);
}
