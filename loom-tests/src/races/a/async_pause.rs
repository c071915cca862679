//! async-pause (CH #5611).
//!
//! Mechanism: pause() sets a flag, kicks, and returns before the vCPU threads are parked. What is saved
//! next, changes while it is saved.
//!
//! Invariant: pause() returned ⇒ every vCPU is quiescent, and everything that it did is visible.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::vcpu::{Activity, Handled};

/// The pair.
pub const MODEL: Model = Model::race("async-pause", historic, FINDING, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

const FINDING: Finding = Finding::Violation("pause returned while the vCPU acts");

fn historic() {
    let paused = Arc::new(AtomicBool::new(false));
    let activity = Arc::new(Activity::new());
    let vcpu = {
        let (paused, activity) = (Arc::clone(&paused), Arc::clone(&activity));
        thread::spawn(move || {
            if !paused.load(Ordering::Acquire) {
                activity.during(|| {});
            }
        })
    };
    // The whole of the pause; the kick goes without saying.
    paused.store(true, Ordering::Release);
    assert!(activity.is_still(), "pause returned while the vCPU acts");
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let vcpu = bed.spawn(0, Script::halt().exit(|| Handled::Done));
    // Checks, while it is paused, that the vCPU stands still and that no exit is half done.
    let quiesced = bed.pause();
    bed.assert_still();
    drop(quiesced);
    bed.end(vec![vcpu]);
}
