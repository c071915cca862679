//! stale-ack (CH, read).
//!
//! Mechanism: the flag that acknowledges is set on every way out of the guest, and nobody takes it back: it
//! survives the kick of an NMI, or of a thread that was unplugged since. The next pause believes it.
//!
//! Invariant: an ack belongs to one request (the epoch) and to one thread (a slot's next thread begins with
//! a word that says not started).

use std::sync::Arc;

use vcpu_state::OneShot;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("stale-ack", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("the ack of an older kick was believed");

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "that protocol is made of flags")]
struct Vm {
    nmi: bool,
    paused: bool,
    acked: bool,
    parked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            loop {
                let paused = vm.wait_until(|vm| vm.nmi || vm.paused).paused;
                vm.change(|vm| (vm.nmi, vm.acked, vm.parked) = (false, true, paused));
                if paused {
                    break drop(vm.wait_until(|vm| !vm.paused));
                }
            }
        })
    };
    vm.change(|vm| vm.nmi = true);
    vm.change(|vm| vm.paused = true);
    let parked = vm.wait_until(|vm| vm.acked).parked;
    assert!(parked, "the ack of an older kick was believed");
    vm.change(|vm| vm.paused = false);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let first = bed.spawn(0, Script::halt());
    assert_eq!(bed.group.ask(0, OneShot::Nmi), Ok(()));
    drop(bed.pause());
    bed.end(vec![first]);
    assert_eq!(bed.group.reincarnate(0), Ok(()));
    bed.kvm.replace(0);
    let second = bed.spawn(0, Script::halt());
    drop(bed.pause());
    bed.end(vec![second]);
}
