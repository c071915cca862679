//! self-eject (CH, read).
//!
//! Mechanism: a vCPU ejects itself, and waits for an ack that it would have to give itself.
//!
//! Invariant: an eject is a request and no wait: the vCPU goes on, and is killed by whoever carries the request out.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::cpus::Hotplug;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

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
    // The first vCPU cannot be ejected; its slot stays empty.
    let bed = Bed::new(2);
    let hotplug = Hotplug::new(2);
    let eject = {
        let hotplug = hotplug.clone();
        move || hotplug.eject(1)
    };
    let vcpu = bed.spawn(1, Script::halt().exit(eject));
    let report = hotplug.retire(&bed, 1, vcpu);
    assert_eq!((report.exits, report.outcomes.len()), (1, 0));
    assert!(bed.group.word(1).is_some_and(|word| word.any(Word::DEAD)));
    assert_eq!(hotplug.status(1), 0);
}
