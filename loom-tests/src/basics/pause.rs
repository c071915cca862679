//! Two controllers pause two halted vCPUs at once.
//!
//! Invariant: when a pause returns, every vCPU stands still, whatever the other controller does, and
//! goes on doing so until this controller lets go.

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::Model;

/// The model.
pub const MODEL: Model = Model::basic("pause", run);

fn run() {
    let bed = Bed::new(2);
    let vcpus = bed.spawn_halted();
    let other = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    let quiesced = bed.pause();
    // The other one may come and go; this hold stands.
    join(other);
    bed.assert_still();
    drop(quiesced);
    bed.end(vcpus);
}
