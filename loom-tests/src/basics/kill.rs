//! One controller pauses two vCPUs while another kills them.
//!
//! Invariant: kill dominates. Wherever the pause stands, both vCPUs die, the pause returns (the dead are
//! still), and nobody waits for anybody for ever.

use vcpu_state::Word;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::Model;

/// The model.
pub const MODEL: Model = Model::basic("kill", run);

fn run() {
    let bed = Bed::new(2);
    let vcpus = bed.spawn_halted();
    let pauser = {
        let bed = bed.clone();
        thread::spawn(move || bed.pause())
    };
    bed.group.kill_all();
    for vcpu in vcpus {
        join(vcpu);
    }
    // The pauser holds on until here: the vCPUs died under its hold.
    let quiesced = join(pauser);
    assert!(bed.group.words().all(|word| word.any(Word::DEAD)));
    drop(quiesced);
}
