//! Two controllers pause and resume two vCPUs.
//!
//! Invariant: when both have let go, no word is PAUSED and nobody is held; every vCPU goes on (and so can
//! be killed where it is).

use vcpu_state::Word;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// The model.
pub const MODEL: Model =
    Model::basic("resume", run).explored(Bound::Preemptions(0), Bound::Preemptions(1));

fn run() {
    let bed = Bed::new(2);
    let vcpus = bed.spawn_halted();
    let other = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    drop(bed.pause());
    join(other);
    assert!(bed.group.words().all(|word| word.holders() == 0 && !word.any(Word::PAUSED)));
    bed.end(vcpus);
}
