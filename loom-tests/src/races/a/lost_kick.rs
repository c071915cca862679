//! lost-kick (CH #7427 #7428 #7455 #7459, FC #304).
//!
//! Mechanism: the signal arrives after the thread has looked at its flags and before KVM_RUN. Its handler
//! does nothing, so the ioctl blocks, and nobody looks again.
//!
//! Invariant: a published request makes the next guest entry exit at once, because the handler stores
//! `immediate_exit`, which the thread cleared *before* it looked.

use std::sync::Arc;

use crate::bed::Bed;
use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::kvm::{Guest, Handler, Kvm};
use crate::model::{Bound, Finding, Model};

/// The pair.
pub const MODEL: Model = Model::race("lost-kick", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(4));

fn historic() {
    let kvm = Arc::new(Kvm::new(1, Handler::Empty));
    let kill = Arc::new(AtomicBool::new(false));
    let vcpu = {
        let (kvm, kill) = (Arc::clone(&kvm), Arc::clone(&kill));
        thread::spawn(move || {
            while !kill.load(Ordering::Acquire) {
                kvm.run(0, Guest::Halts);
            }
        })
    };
    kill.store(true, Ordering::Release);
    kvm.send_signal(0);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    drop(bed.pause());
    bed.end(vcpus);
}
