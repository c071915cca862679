//! reboot-in-migration (cy #87, CH #8835 #8869).
//!
//! Mechanism: a guest that resets itself while it is being migrated finds a VM that cannot be rebooted now. That is an error, which ends
//! the control loop; whoever asks for something afterwards waits for ever.
//!
//! Invariant: every guest event has a legal successor in every phase. A migration is one more holder of the words, and
//! the VM's object stays where it is: production's phase function says what follows from the reset, its moves are carried
//! out, and the migration's hold finds words that have ended, which counts as an answer.

use std::sync::Arc;

use vmm::control::{AtomicPhase, Consequence, Move, Phase};

use crate::bed::{Bed, Script};
use crate::checker::atomic::Ordering;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::power::{Power, Way};

/// The pair.
pub const MODEL: Model = Model::race("reboot-in-migration", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(3));

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "that is what it was made of")]
struct Vm {
    migrating: bool,
    reset: bool,
    request: bool,
    answered: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm { migrating: true, ..Vm::default() }));
    let control = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            loop {
                let mut state = vm.wait_until(|vm| vm.reset || vm.request);
                if state.reset && state.migrating {
                    // The VM is not here: an error, and the end of the loop.
                    return;
                }
                state.reset = false;
                if state.request {
                    drop(state);
                    vm.change(|vm| vm.answered = true);
                    return;
                }
            }
        })
    };
    let guest = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || vm.change(|vm| vm.reset = true))
    };
    vm.change(|vm| vm.migrating = false);
    vm.change(|vm| vm.request = true);
    drop(vm.wait_until(|vm| vm.answered));
    join(control);
    join(guest);
}

fn ours() {
    let phase = AtomicPhase::new(Phase::Running);
    let bed = Bed::new(1);
    let power = Power::new(&bed.group);
    let mut vcpus = vec![bed.spawn(0, Script::halt().exit(power.handler(Way::Reset)))];
    let migration = {
        let bed = bed.clone();
        // The last pass, and then back: the destination refuses, say.
        thread::spawn(move || drop(bed.pause()))
    };
    power.await_request();
    let Some(asked) = power.requests.asked() else { panic!("the reset is lost") };
    // Acquire: as the owner reads it.
    let consequence = phase.load(Ordering::Acquire).after(asked);
    assert_eq!(consequence, Consequence::Restart);
    for step in consequence.moves() {
        if let Err(error) = phase.advance(*step) {
            panic!("{step:?}: {error}");
        }
        if *step == Move::Stop {
            bed.end(std::mem::take(&mut vcpus));
        }
    }
    drop(power);
    assert_eq!(phase.load(Ordering::Acquire), Phase::Running);
    join(migration);
    // The next request finds a control plane that serves it.
    assert!(phase.advance(Move::Pause).is_ok());
}
