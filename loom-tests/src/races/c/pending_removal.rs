//! pending-removal (kata #11188).
//!
//! Mechanism: a vCPU is asked for, the guest never ejects it, and every later resize fails because a removal is
//! pending.
//!
//! Invariant: removal is a visible state that can be taken back: eject and cancellation are two
//! compare-and-swaps on one word, of which exactly one wins; only the eject kills.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{join, thread};
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

const PRESENT: u32 = 0;
const ASKED_FOR: u32 = 1;
const EJECTED: u32 = 2;

fn step(register: &AtomicU32, from: u32, to: u32) -> bool {
    register.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

fn ours() {
    let bed = Bed::new(2);
    let register = Arc::new(AtomicU32::new(PRESENT));
    let eject = {
        let (register, group) = (Arc::clone(&register), Arc::clone(&bed.group));
        move || {
            if step(&register, ASKED_FOR, EJECTED) {
                group.kill(1);
            }
            Handled::Done
        }
    };
    let guest = bed.spawn(0, Script::halt().exit(eject).end());
    let removed = bed.spawn(1, Script::halt());
    assert!(step(&register, PRESENT, ASKED_FOR));
    // The guest may eject, now or too late, or not at all; the operator has changed their mind.
    let cancelled = step(&register, ASKED_FOR, PRESENT);
    join(guest);
    let killed = bed.group.word(1).is_some_and(|word| word.any(Word::KILLED));
    assert!(cancelled != killed, "cancelled: {cancelled}, killed: {killed}");
    if cancelled {
        // The next resize is not refused.
        assert!(step(&register, PRESENT, ASKED_FOR));
    }
    bed.end(vec![removed]);
}
