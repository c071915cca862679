//! A controller resumes two vCPUs and waits until both are in the guest, while another pauses and lets go.
//!
//! Invariant: the wait ends: whoever stops being on its way, into the guest or into another's hold, is seen,
//! or tells. (Lost, it would be a deadlock: nothing else wakes the one who waits.)

use vcpu_state::{Deadline, Released};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// The model.
pub const MODEL: Model =
    Model::basic("entered", run).explored(Bound::Preemptions(0), Bound::Preemptions(1));

fn run() {
    let bed = Bed::new(2);
    let vcpus = bed.spawn_halted();
    let other = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    let entered = bed.pause().release().wait_entered(Deadline::Never);
    assert!(matches!(entered, Ok(Released::Running | Released::StillHeld)), "{entered:?}");
    join(other);
    // Nobody else any more: both come, and stay, since they halt.
    assert_eq!(bed.group.wait_entered(Deadline::Never), Ok(()));
    bed.end(vcpus);
}
