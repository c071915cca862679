//! eject-pause-join (CH, read).
//!
//! Mechanism: a vCPU's write ejects another one: it tells it to stop and joins its thread. That one is parked
//! for a pause, which waits for the first.
//!
//! Invariant: a vCPU thread never joins; the control plane does, and the kill of a parked vCPU ends its park.

use std::sync::Arc;

use vcpu_state::{Outcome, Ticket};

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("eject-pause-join", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(0), Bound::Preemptions(1));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: [bool; 2],
    stop: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let serve_pause = |vm: &Monitor<Vm>, index: usize| {
        vm.change(|vm| vm.acked[index] = true);
        drop(vm.wait_until(|vm| !vm.paused));
    };
    let ejected = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let paused = vm.wait_until(|vm| vm.paused || vm.stop).paused;
            if paused {
                serve_pause(&vm, 1);
            }
            vm.change(|vm| vm.acked[1] = true);
        })
    };
    let ejector = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            vm.change(|vm| vm.stop = true);
            join(ejected);
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked[0] = true);
        })
    };
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked == [true; 2]));
    vm.change(|vm| vm.paused = false);
    join(ejector);
}

fn ours() {
    let bed = Bed::new(2);
    let (ticket, completer) = Ticket::new(&bed.group);
    let posted = Arc::new(FutexWord::new(0));
    let eject = {
        let posted = Arc::clone(&posted);
        move || {
            posted.advance();
            Handled::Wait(ticket)
        }
    };
    let ejector = bed.spawn(0, Script::halt().exit(eject).end());
    let ejected = bed.spawn(1, Script::halt());
    let pauser = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    await_at_least(&posted, 1);
    bed.group.kill(1);
    join(ejected);
    completer.complete(Outcome::Done);
    join(pauser);
    assert_eq!(join(ejector).outcomes, [Outcome::Done]);
}
