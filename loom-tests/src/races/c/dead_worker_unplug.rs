//! dead-worker-unplug (CH #8763).
//!
//! Mechanism: an unplug tells the device's worker to stop and waits until it says so. The worker died of an
//! error long ago.
//!
//! Invariant: an unplug does not depend on the worker: its last reset kills the worker and
//! joins its thread, which may have ended long ago.

use std::sync::Arc;

use devices::virtio::testing::Working;
use vcpu_state::Outcome;

use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("dead-worker-unplug", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
struct Worker {
    stop: bool,
    stopped: bool,
}

fn historic() {
    let worker = Arc::new(Monitor::new(Worker::default()));
    let thread = {
        let worker = Arc::clone(&worker);
        thread::spawn(move || {
            let stop = worker.lock().stop;
            if stop {
                worker.change(|worker| worker.stopped = true);
            }
            // Otherwise it reads a broken descriptor, and that is its end.
        })
    };
    worker.change(|worker| worker.stop = true);
    drop(worker.wait_until(|worker| worker.stopped));
    join(thread);
}

fn ours() {
    let mut device = Device::active(Working::Panics, 1, 1);
    device.send(0);
    let removal = device.registers.remove();
    assert_eq!(device.wait(&removal), Outcome::Done);
    assert_eq!(device.workers(), 0);
    assert_eq!(device.registers.word().status(), 0);
    device.end();
}
