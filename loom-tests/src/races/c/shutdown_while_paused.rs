//! shutdown-while-paused (CH #816).
//!
//! Mechanism: a killed vCPU stays parked, because its park looks at the pause flag only.
//!
//! Invariant: kill dominates pause. Here the pauser holds on until the thread is joined, and the guest may have switched itself off
//! before: that is kept while the VM is paused, and void when it is shut down.

use std::sync::Arc;

use vcpu_state::{Deadline, Word};
use vmm::control::{AtomicPhase, Consequence, GuestEvent, Move, Phase};

use crate::bed::{Bed, Script};
use crate::checker::atomic::Ordering;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::power::{Power, Way};

/// The pair.
pub const MODEL: Model = Model::race("shutdown-while-paused", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(4));

#[derive(Default)]
struct Vm {
    paused: bool,
    killed: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm { paused: true, killed: false }));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            while !vm.lock().killed {
                drop(vm.wait_until(|vm| !vm.paused));
            }
        })
    };
    vm.change(|vm| vm.killed = true);
    join(vcpu);
}

fn ours() {
    let phase = AtomicPhase::new(Phase::Running);
    let step = |step| match phase.advance(step) {
        Ok(phase) => phase,
        Err(error) => panic!("{step:?}: {error}"),
    };
    let bed = Bed::new(1);
    let power = Power::new(&bed.group);
    let vcpu = vec![bed.spawn(0, Script::halt().exit(power.handler(Way::PowerOff)))];
    step(Move::Pause);
    let quiesced = bed.pause();
    step(Move::Done);
    if let Some(asked) = power.requests.asked() {
        assert_eq!(asked, GuestEvent::PowerOff);
        // Acquire: as the owner reads it.
        assert_eq!(phase.load(Ordering::Acquire).after(asked), Consequence::Keep);
    }
    step(Move::Stop);
    bed.group.kill_all();
    assert_eq!(bed.group.wait_dead(Deadline::Never), Ok(()));
    bed.end(vcpu);
    assert!(bed.group.words().all(|word| word.any(Word::DEAD)));
    assert_eq!(step(Move::Done).after(GuestEvent::PowerOff), Consequence::Void);
    drop(quiesced);
}
