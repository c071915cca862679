//! gdb-resume (CH #4354 #4363, read).
//!
//! Mechanism: a resume waits until every vCPU has left its park. The first one out stops at a breakpoint
//! and sets the global pause flag; the second, which has not looked yet, finds it set and stays.
//!
//! Invariant: a debug stop is an ordinary pause with a holder of its own, asked for by the debugger's thread.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("gdb-resume", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(0), Bound::Preemptions(1));

struct Vm {
    paused: bool,
    left: [bool; 2],
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm { paused: true, left: [false; 2] }));
    let vcpus = [0, 1].map(|index| {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            drop(vm.wait_until(|vm| !vm.paused));
            vm.change(|vm| vm.left[index] = true);
            if index == 0 {
                // Its guest runs into a breakpoint.
                vm.change(|vm| vm.paused = true);
            }
        })
    });
    vm.change(|vm| vm.paused = false);
    drop(vm.wait_until(|vm| vm.left == [true; 2]));
    vcpus.into_iter().for_each(join);
}

fn ours() {
    let bed = Bed::new(2);
    let stops = Arc::new(FutexWord::new(0));
    let breakpoint = {
        let stops = Arc::clone(&stops);
        move || {
            stops.advance();
            Handled::Done
        }
    };
    let paused = bed.pause();
    let vcpus = vec![bed.spawn(0, Script::halt().exit(breakpoint)), bed.spawn(1, Script::halt())];
    let debugger = {
        let bed = bed.clone();
        thread::spawn(move || {
            await_at_least(&stops, 1);
            drop(bed.pause());
        })
    };
    paused.resume();
    join(debugger);
    bed.end(vcpus);
}
