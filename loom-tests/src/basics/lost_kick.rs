//! Two controllers interrupt two vCPUs that go into the guest for good: one pauses both, the other asks
//! one of them for an NMI.
//!
//! Invariant: a request that was published makes the guest entry that follows it, or is under way, return
//! at once. The NMI is taken and the pause answered, although the guest never exits by itself.

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::Model;
use vcpu_state::OneShot;

/// The model.
pub const MODEL: Model = Model::basic("lost-kick-two-controllers", run);

fn run() {
    let bed = Bed::new(2);
    // This one ends when it has its NMI; if the kick is lost, it never does.
    let nmi = bed.spawn(0, Script::halt().until(OneShot::Nmi));
    let halted = bed.spawn(1, Script::halt());
    let pauser = {
        let bed = bed.clone();
        thread::spawn(move || drop(bed.pause()))
    };
    assert_eq!(bed.group.ask(0, OneShot::Nmi), Ok(()));
    assert_eq!(join(nmi).nmis, 1);
    join(pauser);
    bed.end(vec![halted]);
}
