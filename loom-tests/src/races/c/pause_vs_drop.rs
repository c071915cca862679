//! pause-vs-drop (CH #6293).
//!
//! Mechanism: a device is dropped while the VM is paused. It tells its worker to stop and joins it; the worker is
//! parked and does not look.
//!
//! Invariant: stop implies unpark: a worker is a member like any other, and kill ends its park. Here the device
//! is dropped while a pause comes or holds.

use std::sync::Arc;

use vcpu_state::{Member, Step};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("pause-vs-drop", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(4));

#[derive(Default)]
struct Vm {
    paused: bool,
    stop: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let worker = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let paused = vm.wait_until(|vm| vm.paused || vm.stop).paused;
            if paused {
                drop(vm.wait_until(|vm| !vm.paused));
            }
        })
    };
    vm.change(|vm| vm.paused = true);
    vm.change(|vm| vm.stop = true);
    join(worker);
}

/// A device worker with an empty queue: it waits in the kernel, as a halted vCPU does.
fn work(bed: &Bed, mut member: Member) {
    if member.start().is_err() {
        return;
    }
    loop {
        match member.next() {
            Step::Kill => return,
            Step::Pause { epoch } => drop(member.park(epoch)),
            Step::Ticket | Step::OneShot(_) => panic!("not for a worker: {:?}", member.word()),
            Step::Enter => {
                bed.kvm.set_immediate_exit(0, false);
                if member.enter().is_ok() {
                    bed.kvm.run(0, crate::kvm::Guest::Halts);
                    member.leave();
                }
            }
        }
    }
}

fn ours() {
    let bed = Bed::new(1);
    let worker = {
        let bed = bed.clone();
        let Some(member) = bed.group.member(0) else { panic!("no slot") };
        thread::spawn(move || work(&bed, member))
    };
    let pauser = {
        let bed = bed.clone();
        thread::spawn(move || bed.pause())
    };
    bed.group.kill(0);
    join(worker);
    drop(join(pauser));
}
