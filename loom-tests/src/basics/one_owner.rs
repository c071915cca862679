//! Two controllers plug the same slot at once.
//!
//! Invariant: a slot has one owner at a time. (A second one could not start, and its drop would publish DEAD
//! under the feet of the first.)

use vcpu_state::Word;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// The model.
pub const MODEL: Model =
    Model::basic("one-owner", run).explored(Bound::Exhaustive, Bound::Exhaustive);

/// Plugs the slot if it is free, and unplugs it again; how often it was had.
fn plug(bed: &Bed) -> u8 {
    let Some(mut member) = bed.group.member(0) else { return 0 };
    let started = member.start();
    assert!(started.is_ok(), "a slot has two owners: {started:?}");
    let alive = bed.group.word(0).is_some_and(|word| word.any(Word::RUN));
    assert!(alive, "a running member is dead");
    drop(member);
    assert_eq!(bed.group.reincarnate(0), Ok(()));
    1
}

fn run() {
    let bed = Bed::new(1);
    let other = {
        let bed = bed.clone();
        thread::spawn(move || plug(&bed))
    };
    let plugs = plug(&bed) + join(other);
    assert!(plugs >= 1);
    assert!(bed.group.word(0).is_some_and(|word| word.incarnation() == plugs));
}
