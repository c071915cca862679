//! ecam-activation (CH, read).
//!
//! Mechanism: a register write returns the barrier on which its vCPU must wait. One that goes through the
//! window in the PCI configuration space drops it; the activator, who waits on the barrier for two, hangs, and
//! a guest can make that happen.
//!
//! Invariant: every register path ends in the same activation, and a completer waits for nobody: one vCPU may
//! wait for the ticket, several, or none.

use std::sync::Arc;

use vcpu_state::{Completer, Outcome, Ticket};

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("ecam-activation", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

fn historic() {
    let at_barrier = Arc::new(Monitor::new(0));
    let arrive = |barrier: &Monitor<u32>| {
        barrier.change(|arrived| *arrived += 1);
        drop(barrier.wait_until(|arrived| *arrived == 2));
    };
    let vcpu = {
        let barrier = Arc::clone(&at_barrier);
        thread::spawn(move || {
            let write_status = move || Some(barrier);
            // Through the window: what the write returned is dropped.
            write_status().is_some()
        })
    };
    arrive(&at_barrier);
    join(vcpu);
}

/// The device's register block, and how often it was asked to activate.
struct Registers {
    posted: FutexWord,
    active: AtomicBool,
    ticket: Ticket,
}

impl Registers {
    fn write_status(&self) -> Handled {
        self.posted.advance();
        Handled::Wait(self.ticket.clone())
    }

    fn activate(&self, completer: Completer) {
        await_at_least(&self.posted, 1);
        // Relaxed: the ticket orders it.
        self.active.store(true, Ordering::Relaxed);
        completer.complete(Outcome::Done);
    }
}

fn ours() {
    let bed = Bed::new(1);
    let (ticket, completer) = Ticket::new(&bed.group);
    let posted = FutexWord::new(0);
    let registers = Arc::new(Registers { posted, active: AtomicBool::new(false), ticket });
    let through_the_bar = {
        let registers = Arc::clone(&registers);
        move || registers.write_status()
    };
    let through_the_window = {
        let registers = Arc::clone(&registers);
        move || {
            assert!(registers.active.load(Ordering::Relaxed), "the guest went on before the end");
            registers.write_status()
        }
    };
    let script = Script::halt().exit(through_the_bar).exit(through_the_window).end();
    let vcpu = bed.spawn(0, script);
    registers.activate(completer);
    assert_eq!(join(vcpu).outcomes, [Outcome::Done; 2]);
}
