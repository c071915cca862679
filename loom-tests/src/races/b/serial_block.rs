//! serial-block (CH #1707 #3004).
//!
//! Mechanism: the guest writes to its serial port, the PTY or pipe behind it is full, and the vCPU thread
//! blocks in write(2). A pause waits for it until somebody reads the other end.
//!
//! Invariant: no blocking host I/O on a vCPU thread. A byte goes into a bounded ring or is counted as dropped.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("serial-block", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

const CAPACITY: u32 = 1;

#[derive(Default)]
struct Vm {
    in_pipe: u32,
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            for _ in 0..2 {
                drop(vm.wait_until(|vm| vm.in_pipe < CAPACITY));
                vm.change(|vm| vm.in_pipe += 1);
            }
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    join(vcpu);
}

/// How full the ring is; what is in it does not matter here.
#[derive(Debug)]
struct Ring {
    queued: AtomicU32,
    dropped: AtomicU32,
}

impl Ring {
    fn push(&self) {
        let room = |queued: u32| (queued < CAPACITY).then_some(queued + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        if self.queued.fetch_update(set, fetch, room).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn ours() {
    let bed = Bed::new(1);
    let ring = Arc::new(Ring { queued: AtomicU32::new(0), dropped: AtomicU32::new(0) });
    let out = || {
        let ring = Arc::clone(&ring);
        move || {
            ring.push();
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(out()).exit(out()).end());
    drop(bed.pause());
    // Drains at some time, or never.
    let drained = ring.queued.swap(0, Ordering::AcqRel);
    join(vcpu);
    let left = ring.queued.load(Ordering::Acquire);
    assert_eq!(
        drained + left + ring.dropped.load(Ordering::Acquire),
        2,
        "a byte is lost: {ring:?}"
    );
}
