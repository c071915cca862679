//! unplug-readd (CH #4038 #8146).
//!
//! Mechanism: an unplug frees the id at once; a new device is given it; the guest's eject, which was meant for
//! the old one, removes the new.
//!
//! Invariant: a slot (and with it the device's id) is reserved until the guest has ejected and nothing answers for the function any
//! longer. A request to give a function up is read once, so that it is ejected once.

use std::sync::Arc;

use devices::pci::{InsertError, SlotState};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::pci::{Root, function};
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("unplug-readd", historic, FINDING, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(3));

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
    let (root, mut attendant) = Root::new(&bed.group);
    let slot = root.insert(&function(1));
    while attendant.round() {}
    // The methods of the guest's firmware, on two vCPUs at once: each gives up what it is asked for.
    let method = || {
        let root = Arc::clone(&root);
        move || {
            let asked = root.read_down();
            root.eject(asked);
            Handled::Done
        }
    };
    let guest = [0, 1].map(|vcpu| bed.spawn(vcpu, Script::halt().exit(method()).end()));
    assert_eq!(root.ask_removal(slot), Ok(()));
    let new = function(2);
    let mut readd = || match root.segment.insert_at(slot, &new) {
        Ok(()) => true,
        Err(InsertError::Taken { state, .. }) => {
            assert!(matches!(state, SlotState::RemovalAsked | SlotState::Ejected), "{state:?}");
            while attendant.round() {}
            false
        }
        Err(error) => panic!("no room: {error}"),
    };
    // Before the eject, and before the old one is gone, there is no slot to be had.
    let early = readd() || readd();
    for vcpu in guest {
        drop(join(vcpu));
    }
    let asked = root.read_down();
    if asked != 0 {
        // Neither had been told yet.
        root.eject(asked);
    }
    assert!(early || readd() || readd(), "the slot stays taken");
    assert_eq!(root.gone(), 1);
    let state = root.segment.state(slot);
    assert!(state == SlotState::Present, "the eject of the old device took the new one: {state:?}");
}
