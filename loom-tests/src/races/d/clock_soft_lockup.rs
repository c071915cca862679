//! clock-soft-lockup (FC #5322 #5494 #4099).
//!
//! Mechanism: whoever resumes tells KVM that the guest stood still (KVM_KVMCLOCK_CTRL), and a vCPU runs before that is said, or after a resume
//! that did not say it. The guest's watchdog finds that nothing has happened for a long time, and reports a processor that hangs.
//!
//! Invariant: a vCPU that has stood still does not enter the guest before KVM has been told. Its own thread says it, on the way back, whoever
//! resumed it and however often it was held meanwhile.

use std::sync::Arc;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::kvm::{Guest, Handler, Kvm, NOT_TOLD};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model =
    Model::race("clock-soft-lockup", historic, Finding::Violation(NOT_TOLD), ours)
        .explored(Bound::Preemptions(2), Bound::Preemptions(3));

fn historic() {
    let kvm = Arc::new(Kvm::new(1, Handler::StoreImmediateExit));
    let held = Arc::new(Monitor::new(true));
    kvm.stand_still(0);
    let vcpu = {
        let (kvm, held) = (Arc::clone(&kvm), Arc::clone(&held));
        thread::spawn(move || {
            drop(held.wait_until(|held| !held));
            kvm.run(0, Guest::Exits);
        })
    };
    held.change(|held| *held = false);
    kvm.tell_clock(0);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    // The second one may take the vCPU back in its sleep.
    drop(bed.pause());
    drop(bed.pause());
    bed.end(vcpus);
}
