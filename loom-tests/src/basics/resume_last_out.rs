//! Two controllers hold two members and let go at once.
//!
//! Invariant: exactly one of them, the last one out, is told that the group runs. (Whoever takes the VM's
//! phase from that answer would otherwise show "paused" for ever, or "running" too early.)

use vcpu_state::{Released, Word};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// The model.
pub const MODEL: Model =
    Model::basic("resume-last-out", run).explored(Bound::Exhaustive, Bound::Exhaustive);

fn run() {
    let bed = Bed::new(2);
    let (first, second) = (bed.pause(), bed.pause());
    let other = thread::spawn(move || first.resume());
    let ours = second.resume();
    let last_out = [ours, join(other)].map(|released| released == Released::Running);
    assert!(last_out[0] != last_out[1], "the last one out is not told: {last_out:?}");
    assert!(bed.group.words().all(|word| word.holders() == 0 && !word.any(Word::PAUSED)));
}
