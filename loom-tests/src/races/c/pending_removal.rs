//! pending-removal (kata #11188).
//!
//! Mechanism: a vCPU is asked for, the guest never ejects it, and every later resize fails because a removal is
//! pending.
//!
//! Invariant: removal is a visible state that can be taken back: eject and cancellation are two
//! compare-and-swaps on one word. Whichever comes first, the next resize finds a slot that it can do something with.

use std::sync::Arc;

use devices::cpu_hotplug::Presence;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::cpus::{Hotplug, REMOVING};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("pending-removal", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("the resize is refused for ever");

#[derive(Default)]
struct Slot {
    removal_pending: bool,
    ejected: bool,
}

impl Slot {
    fn resize(&mut self) -> Result<(), &'static str> {
        if self.removal_pending && !self.ejected {
            return Err("a removal is pending");
        }
        self.removal_pending = true;
        Ok(())
    }
}

fn historic() {
    let slot = Arc::new(Monitor::new(Slot::default()));
    let guest = {
        let slot = Arc::clone(&slot);
        // It looks once; if the request comes later, nobody handles it.
        thread::spawn(move || slot.change(|slot| slot.ejected = slot.removal_pending))
    };
    let first = slot.change(Slot::resize);
    join(guest);
    let second = slot.change(Slot::resize);
    assert!(first.and(second).is_ok(), "the resize is refused for ever");
}

fn ours() {
    let bed = Bed::new(2);
    let hotplug = Hotplug::new(2);
    let eject = {
        let hotplug = hotplug.clone();
        move || {
            if hotplug.status(1) & REMOVING != 0 { hotplug.eject(1) } else { Handled::Done }
        }
    };
    let guest = bed.spawn(0, Script::halt().exit(eject).end());
    let removed = bed.spawn(1, Script::halt());
    assert_eq!(hotplug.registers.ask_removal(1), Ok(()));
    // The guest may eject, now or too late, or not at all; the operator has changed their mind.
    let cancelled = hotplug.registers.cancel_removal(1).is_ok();
    join(guest);
    match hotplug.registers.presence(1) {
        // It had decided before, and ejects what it may keep: as if of its own accord.
        Presence::Ejected => {
            hotplug.retire(&bed, 1, removed);
            // The next resize is not refused: here is a slot for a new vCPU.
            assert_eq!(bed.group.reincarnate(1), Ok(()));
            assert_eq!(hotplug.registers.insert(1), Ok(()));
        }
        presence => {
            assert!(cancelled, "the resize is refused for ever: {presence:?}");
            assert!(hotplug.registers.take_ejected().is_empty());
            // The next resize is not refused.
            assert_eq!(hotplug.registers.ask_removal(1), Ok(()));
            bed.end(vec![removed]);
        }
    }
}
