//! paused-migration (CH #7815).
//!
//! Mechanism: a migration looks whether its VM runs, pauses it, and resumes it in the end if it ran. Who pauses it in between finds it running
//! afterwards; one that was paused before is resumed at the destination.
//!
//! Invariant: the migration's pause is one more holder, and lets go of nothing but itself. What the VM was is asked for while it stands still.

use std::sync::Arc;

use migration::engine::phase::{SourceEvent, SourcePhase};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("paused-migration", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(3));

const FINDING: Finding = Finding::Violation("a migration resumed what an operator had paused");

fn historic() {
    let paused = Arc::new(Monitor::new(false));
    let operator = {
        let paused = Arc::clone(&paused);
        thread::spawn(move || paused.change(|paused| *paused = true))
    };
    let ran = !*paused.lock();
    paused.change(|paused| *paused = true);
    if ran {
        paused.change(|paused| *paused = false);
    }
    join(operator);
    assert!(*paused.lock(), "a migration resumed what an operator had paused");
}

/// Stops the VM, learns whether others hold it, and gives up.
fn migrate(bed: &Bed) -> bool {
    let still = bed.pause();
    let mut phase = SourcePhase::Copying;
    for event in [SourceEvent::Stop, SourceEvent::Sent, SourceEvent::Refused] {
        phase = match phase.after(event) {
            Ok(phase) => phase,
            Err(error) => panic!("{error}"),
        };
    }
    let others = bed.group.words().any(|word| word.holders() > 1);
    assert!(phase == SourcePhase::Restored && phase.may_run());
    drop(still);
    others
}

fn ours() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    let operator = {
        let bed = bed.clone();
        thread::spawn(move || bed.pause())
    };
    let _ = migrate(&bed);
    let held = join(operator);
    bed.assert_still();
    assert!(migrate(&bed), "a paused VM is said to run");
    bed.assert_still();
    drop(held);
    bed.end(vcpus);
}
