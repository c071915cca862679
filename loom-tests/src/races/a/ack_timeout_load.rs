//! ack-timeout-load (CH #7638, cy #115).
//!
//! Mechanism: a deadline of one second decides correctness. On a loaded host a vCPU thread may not be
//! scheduled for longer; then the pause fails, its request stays, and the vCPU parks when nobody will
//! resume it. The clock is a thread here: it may strike at any time.
//!
//! Invariant: no time-out decides correctness. A deadline only reports who has not arrived, and takes the
//! request back. Ours has a deadline that has passed already, so only the words can decide.

use std::sync::Arc;
use std::time::Duration;

use vcpu_state::{Deadline, OneShot, PauseError};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("ack-timeout-load", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
    timed_out: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let clock = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || vm.change(|vm| vm.timed_out = true))
    };
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
            drop(vm.wait_until(|vm| !vm.paused));
        })
    };
    vm.change(|vm| vm.paused = true);
    let acked = vm.wait_until(|vm| vm.acked || vm.timed_out).acked;
    if acked {
        vm.change(|vm| vm.paused = false);
    }
    // Otherwise the pause has failed, so that there is nothing to resume.
    join(vcpu);
    join(clock);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpu = bed.spawn(0, Script::halt().until(OneShot::Nmi));
    match bed.group.pause(Deadline::After(Duration::ZERO)) {
        Ok(quiesced) => {
            bed.assert_still();
            drop(quiesced);
        }
        Err(PauseError::Stuck(stuck)) => assert_eq!(stuck.members[0].member, 0),
        Err(error) => panic!("a first pauser was refused: {error}"),
    }
    assert!(bed.group.words().all(|word| word.holders() == 0));
    // Whatever was reported: it goes on, and takes its NMI.
    assert_eq!(bed.group.ask(0, OneShot::Nmi), Ok(()));
    assert_eq!(join(vcpu).nmis, 1);
}
