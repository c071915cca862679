//! activate-vs-migration (cy #105, CH #8462).
//!
//! Mechanism: the migration's worker owns the VM object while it runs. An activation that the guest asks for
//! meanwhile finds no VM, and nobody releases the vCPU; the worker then pauses it, and waits.
//!
//! Invariant: the activator never loses the right to run. The worker holds a handle on the words; who owns
//! the VM object is irrelevant to a ticket.

use std::sync::Arc;

use vcpu_state::{Outcome, Ticket};

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("activate-vs-migration", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "that protocol is made of flags")]
struct Vm {
    owned_by_worker: bool,
    to_activate: bool,
    activated: bool,
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            vm.change(|vm| vm.to_activate = true);
            drop(vm.wait_until(|vm| vm.activated));
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    let worker = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            vm.change(|vm| vm.owned_by_worker = true);
            vm.change(|vm| vm.paused = true);
            drop(vm.wait_until(|vm| vm.acked));
            vm.change(|vm| vm.owned_by_worker = false);
        })
    };
    // The control loop: the event comes once, and without a VM there is nothing to be done about it.
    drop(vm.wait_until(|vm| vm.to_activate));
    vm.change(|vm| vm.activated = !vm.owned_by_worker);
    join(worker);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let (ticket, completer) = Ticket::new(&bed.group);
    let posted = Arc::new(FutexWord::new(0));
    let driver_ok = {
        let posted = Arc::clone(&posted);
        move || {
            posted.advance();
            Handled::Wait(ticket)
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(driver_ok).end());
    let worker = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    await_at_least(&posted, 1);
    completer.complete(Outcome::Done);
    join(worker);
    assert_eq!(join(vcpu).outcomes, [Outcome::Done]);
}
