//! serial-pause (CH #7290).
//!
//! Mechanism: signal one vCPU, wait for it, then the next. A pause of N vCPUs takes N round trips of a
//! millisecond each, and all the time some of them run on.
//!
//! Invariant: signal-all is over before wait-all starts.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("serial-pause", historic, FINDING, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

const FINDING: Finding = Finding::Violation("waits for a vCPU before every one was asked");

#[derive(Default)]
struct Vm {
    asked: [bool; 2],
    acked: [bool; 2],
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpus = [0, 1].map(|index| {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            drop(vm.wait_until(|vm| vm.asked[index]));
            vm.change(|vm| vm.acked[index] = true);
        })
    });
    for index in 0..2 {
        vm.change(|vm| vm.asked[index] = true);
        let all_asked = vm.lock().asked == [true; 2];
        assert!(all_asked, "waits for a vCPU before every one was asked");
        drop(vm.wait_until(|vm| vm.acked[index]));
    }
    vcpus.into_iter().for_each(join);
}

fn ours() {
    let bed = Bed::new(2);
    let vcpus = bed.spawn_halted();
    let Ok(pending) = bed.group.signal_all() else { panic!("a first pauser was refused") };
    assert!(bed.group.words().all(|word| word.any(Word::PAUSE_REQUESTED)));
    let quiesced = pending.wait_all();
    bed.assert_still();
    drop(quiesced);
    bed.end(vcpus);
}
