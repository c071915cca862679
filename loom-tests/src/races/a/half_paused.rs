//! half-paused (CH, read).
//!
//! Mechanism: a pause fails half way, and the flag stays set. Some vCPUs park, the VM says Running, and a
//! resume of a running VM is refused.
//!
//! Invariant: a pause is transactional: all are quiescent, or all are back as they were.

use std::sync::Arc;
use std::time::Duration;

use vcpu_state::{Deadline, OneShot};

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("half-paused", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let healthy = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            // Its guest ends by itself; a pause may come before.
            let paused = vm.lock().paused;
            if paused {
                vm.change(|vm| vm.acked = true);
                drop(vm.wait_until(|vm| !vm.paused));
            }
        })
    };
    vm.change(|vm| vm.paused = true);
    // The second vCPU cannot be signalled: the pause returns the error, and the VM stays Running.
    join(healthy);
}

fn ours() {
    let bed = Bed::new(2);
    let healthy = bed.spawn(0, Script::halt().until(OneShot::Nmi));
    let scheduled = Arc::new(FutexWord::new(0));
    let held_up = {
        let scheduled = Arc::clone(&scheduled);
        let handler = move || {
            await_at_least(&scheduled, 1);
            Handled::Fail
        };
        bed.spawn(1, Script::halt().exit(handler))
    };
    // It succeeds only where the second one has not begun its exit yet.
    drop(bed.group.pause(Deadline::After(Duration::ZERO)));
    assert!(bed.group.words().all(|word| word.holders() == 0));
    assert_eq!(bed.group.ask(0, OneShot::Nmi), Ok(()));
    assert_eq!(join(healthy).nmis, 1);
    scheduled.advance();
    join(held_up);
}
