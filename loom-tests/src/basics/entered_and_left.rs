//! A controller waits until a vCPU is in the guest that exits and dies at once.
//!
//! Invariant: the wait ends, whether it finds the vCPU in the guest, out of it again, or dead.

use vcpu_state::Deadline;

use crate::bed::{Bed, Script};
use crate::model::{Bound, Model};
use crate::vcpu::Handled;

/// The model.
pub const MODEL: Model =
    Model::basic("entered-and-left", run).explored(Bound::Preemptions(2), Bound::Preemptions(5));

fn run() {
    let bed = Bed::new(1);
    let vcpu = bed.spawn(0, Script::halt().exit(|| Handled::Done).end());
    assert_eq!(bed.group.wait_entered(Deadline::Never), Ok(()));
    bed.end(vec![vcpu]);
}
