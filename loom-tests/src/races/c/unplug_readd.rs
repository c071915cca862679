//! unplug-readd (CH #4038 #8146).
//!
//! Mechanism: an unplug frees the id at once; a new device is given it; the guest's eject, which was meant for
//! the old one, removes the new.
//!
//! Invariant: an id is reserved until the eject. A slot can be had again only when it is DEAD, which the eject
//! causes, and the eject's bit is consumed before that.

use std::sync::Arc;

use vcpu_state::{Illegal, Word};

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("unplug-readd", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("the eject of the old device took the new one");

#[derive(Default)]
struct Id {
    occupant: Option<&'static str>,
    asked_for: bool,
}

fn historic() {
    let id = Arc::new(Monitor::new(Id { occupant: Some("old"), asked_for: false }));
    let guest = {
        let id = Arc::clone(&id);
        thread::spawn(move || {
            id.change(|id| {
                if id.asked_for {
                    id.occupant = None;
                }
            });
        })
    };
    // The unplug asks the guest, and frees the id without waiting for it.
    id.change(|id| (id.asked_for, id.occupant) = (true, None));
    id.change(|id| id.occupant = Some("new"));
    join(guest);
    let occupant = id.lock().occupant;
    assert!(occupant == Some("new"), "the eject of the old device took the new one");
}

fn ours() {
    let bed = Bed::new(2);
    let asked_for = Arc::new(AtomicBool::new(true));
    let eject = {
        let (asked_for, group) = (Arc::clone(&asked_for), Arc::clone(&bed.group));
        move || {
            if asked_for.swap(false, Ordering::AcqRel) {
                group.kill(1);
            }
            Handled::Done
        }
    };
    let old = bed.spawn(1, Script::halt());
    // The guest ejects twice: the second one, whenever it comes, must not hit the new vCPU.
    let guest = bed.spawn(0, Script::halt().exit(eject.clone()).exit(eject).end());
    // Before the eject there is no id to be had.
    let early = bed.group.reincarnate(1);
    if early.is_err() {
        assert_eq!(early, Err(Illegal::WrongState));
        join(old);
        assert_eq!(bed.group.reincarnate(1), Ok(()));
    }
    let new = bed.spawn(1, Script::halt());
    join(guest);
    let word = bed.group.word(1);
    let alive = word.is_some_and(|word| !word.any(Word::KILLED) && word.incarnation() == 1);
    assert!(alive, "the eject of the old vCPU took the new one: {word:?}");
    bed.end(vec![new]);
}
