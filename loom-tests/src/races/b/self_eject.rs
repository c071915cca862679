//! self-eject (CH, read).
//!
//! Mechanism: a vCPU ejects itself, and waits for an ack that it would have to give itself.
//!
//! Invariant: an eject is a request, not a wait of its own: the vCPU holds a ticket for it, and the kill that
//! carries it out ends that wait.

use std::sync::Arc;

use vcpu_state::{Ticket, Word};

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("self-eject", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Exhaustive);

#[derive(Default)]
struct Vm {
    stop: [bool; 1],
    gone: [bool; 1],
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = thread::spawn(move || {
        let me = 0;
        // The eject register's handler, for whichever vCPU the guest names.
        vm.change(|vm| vm.stop[me] = true);
        drop(vm.wait_until(|vm| vm.gone[me]));
        // The loop, which would look at `stop` and say so.
        vm.change(|vm| vm.gone[me] = vm.stop[me]);
    });
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let (ticket, completer) = Ticket::new(&bed.group);
    let posted = Arc::new(FutexWord::new(0));
    let eject = {
        let posted = Arc::clone(&posted);
        move || {
            posted.advance();
            Handled::Wait(ticket)
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(eject));
    await_at_least(&posted, 1);
    bed.group.kill(0);
    assert_eq!(join(vcpu).outcomes, []);
    assert!(bed.group.word(0).is_some_and(|word| word.any(Word::DEAD)));
    drop(completer);
}
