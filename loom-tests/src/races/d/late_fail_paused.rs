//! late-fail-paused (cy #83).
//!
//! Mechanism: a migration that fails after it has paused its VM returns the error, and the VM stays paused.
//!
//! Invariant: failure restores the state before. The hold is a value that goes with the migration, and every phase in which nobody else can have the
//! VM leads back to one in which it may run.

use std::sync::Arc;

use migration::engine::phase::{SourceEvent, SourcePhase};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("late-fail-paused", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(3));

const FINDING: Finding = Finding::Violation("a failed migration leaves its VM paused");

#[derive(Default)]
struct Vm {
    paused: bool,
    link_broken: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let link = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || vm.change(|vm| vm.link_broken = true))
    };
    let send = || if vm.lock().link_broken { Err(()) } else { Ok(()) };
    let migrate = || {
        send()?;
        vm.change(|vm| vm.paused = true);
        send()?;
        vm.change(|vm| vm.paused = false);
        Ok::<(), ()>(())
    };
    let _ = migrate();
    join(link);
    assert!(!vm.lock().paused, "a failed migration leaves its VM paused");
}

fn ours() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    let broken = Arc::new(Monitor::new(false));
    let link = {
        let broken = Arc::clone(&broken);
        thread::spawn(move || broken.change(|broken| *broken = true))
    };
    let mut phase = SourcePhase::Connecting;
    let mut still = None;
    // What the source does in each phase, and what comes of it.
    for event in [SourceEvent::Accepted, SourceEvent::Stop, SourceEvent::Sent, SourceEvent::Ready] {
        let event = if *broken.lock() { SourceEvent::Lost } else { event };
        if event == SourceEvent::Stop {
            still = Some(bed.pause());
        }
        phase = match phase.after(event) {
            Ok(phase) => phase,
            Err(error) => panic!("{error}"),
        };
        if phase.is_final() {
            break;
        }
        assert!(phase.may_run() || still.is_some(), "it may not run in {phase:?}");
    }
    if phase == SourcePhase::Restored {
        drop(still.take());
        let held = bed.group.words().any(|word| word.holders() > 0);
        assert!(phase.may_run() && !held, "a failed migration leaves its VM paused");
    } else {
        // The commit may be on its way: here it stands still.
        assert!(phase == SourcePhase::Committing && !phase.may_run());
        bed.assert_still();
    }
    join(link);
    drop(still);
    bed.end(vcpus);
}
