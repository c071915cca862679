//! nmi-storm (CH #7862).
//!
//! Mechanism: the request for an NMI is a flag that the requester takes back when it sees the ack. Until
//! then the vCPU finds it again on every turn of its loop, and injects again.
//!
//! Invariant: a one-shot request is a bit that exactly one compare-and-swap consumes.

use std::sync::Arc;

use vcpu_state::OneShot;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("nmi-storm", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("one NMI was injected twice");

#[derive(Default)]
struct Vm {
    nmi: bool,
    acked: bool,
    shutdown: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let mut injected = 0;
            while !vm.wait_until(|vm| vm.nmi || vm.shutdown).shutdown {
                injected += 1;
                assert!(injected == 1, "one NMI was injected twice");
                vm.change(|vm| vm.acked = true);
            }
        })
    };
    vm.change(|vm| vm.nmi = true);
    drop(vm.wait_until(|vm| vm.acked));
    vm.change(|vm| (vm.nmi, vm.shutdown) = (false, true));
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    // An NMI is more urgent than a debug stop, so that this thread ends after its last NMI.
    let vcpu = bed.spawn(0, Script::halt().until(OneShot::DebugStop));
    assert_eq!(bed.group.ask(0, OneShot::Nmi), Ok(()));
    drop(bed.pause());
    assert_eq!(bed.group.ask(0, OneShot::DebugStop), Ok(()));
    assert_eq!(join(vcpu).nmis, 1);
}
