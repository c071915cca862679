//! incomplete-mmio (CH #3658 #3677, FC, read).
//!
//! Mechanism: a vCPU parks as soon as it is asked to, between an exit for I/O and its completion. KVM completes the instruction at
//! the next KVM_RUN, from a page that is not saved: in the VM that gets the saved registers the result of the access is lost, or
//! the access is done a second time.
//!
//! Invariant: PAUSED says that no exit is pending: the vCPU has entered KVM once more, with `immediate_exit`, before it acknowledges.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::kvm::{Guest, Handler, Kvm};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("incomplete-mmio", historic, FINDING, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(4));

const FINDING: Finding = Finding::Violation("a vCPU is saved in half an exit");

#[derive(Default)]
struct Park {
    wanted: bool,
    reached: bool,
}

fn historic() {
    let kvm = Arc::new(Kvm::new(1, Handler::StoreImmediateExit));
    let park = Arc::new(Monitor::new(Park { wanted: true, reached: false }));
    let vcpu = {
        let (kvm, park) = (Arc::clone(&kvm), Arc::clone(&park));
        thread::spawn(move || {
            kvm.run(0, Guest::Exits);
            park.change(|park| park.reached = true);
            drop(park.wait_until(|park| !park.wanted));
        })
    };
    drop(park.wait_until(|park| park.reached));
    assert!(!kvm.is_incomplete(0), "a vCPU is saved in half an exit");
    park.change(|park| park.wanted = false);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let exits = Script::halt().exit(|| Handled::Done).exit(|| Handled::Done);
    let vcpu = bed.spawn(0, exits);
    let paused = bed.pause();
    assert!(!bed.kvm.is_incomplete(0), "a vCPU is saved in half an exit");
    drop(paused);
    bed.end(vec![vcpu]);
}
