//! One controller holds one vCPU, another one both.
//!
//! Invariant: either pause ends and stands, whatever the other does: a pause of some waits for the words of
//! these, and its acks are told although the countdown of the group is not at zero.

use vcpu_state::Deadline;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// The model.
pub const MODEL: Model =
    Model::basic("range", run).explored(Bound::Preemptions(0), Bound::Preemptions(1));

fn run() {
    let bed = Bed::new(2);
    let vcpus = bed.spawn_halted();
    let other = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    let held = bed.group.pause_range(1..2, Deadline::Never);
    let still = bed.group.word(1).map(vcpu_state::Word::is_quiescent);
    assert!(held.is_ok() && still == Some(true), "a vCPU that is held is not quiescent");
    join(other);
    drop(held);
    bed.end(vcpus);
}
