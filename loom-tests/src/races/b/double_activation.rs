//! double-activation (CH #7866 #7900 #7906).
//!
//! Mechanism: two vCPUs write DRIVER_OK. Both find the device inactive, and it is activated twice.
//!
//! Invariant: exactly one compare-and-swap wins the right to ask for the activation. Who loses waits for the
//! same ticket.

use std::sync::Arc;

use vcpu_state::{Outcome, Ticket};

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("double-activation", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(3));

const FINDING: Finding = Finding::Violation("the device was activated twice");

const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;

fn historic() {
    let active = Arc::new(AtomicBool::new(false));
    let activations = Arc::new(AtomicU32::new(0));
    let vcpus = [0, 1].map(|_| {
        let (active, activations) = (Arc::clone(&active), Arc::clone(&activations));
        thread::spawn(move || {
            if !active.load(Ordering::Acquire) {
                activations.fetch_add(1, Ordering::AcqRel);
                active.store(true, Ordering::Release);
            }
        })
    });
    vcpus.into_iter().for_each(join);
    let activations = activations.load(Ordering::Acquire);
    assert!(activations == 1, "the device was activated twice");
}

fn ours() {
    let bed = Bed::new(2);
    let (ticket, completer) = Ticket::new(&bed.group);
    let status = Arc::new(AtomicU32::new(DRIVER));
    let posted = Arc::new(FutexWord::new(0));
    let vcpus = [0, 1].map(|index| {
        let (status, posted, ticket) = (Arc::clone(&status), Arc::clone(&posted), ticket.clone());
        let driver_ok = move || {
            let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
            let won = status.compare_exchange(DRIVER, DRIVER | DRIVER_OK, set, fetch).is_ok();
            if won {
                posted.advance();
            }
            Handled::Wait(ticket)
        };
        bed.spawn(index, Script::halt().exit(driver_ok).end())
    });
    await_at_least(&posted, 1);
    completer.complete(Outcome::Done);
    for vcpu in vcpus {
        assert_eq!(join(vcpu).outcomes, [Outcome::Done]);
    }
    assert_eq!(posted.load(), 1);
}
