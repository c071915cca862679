//! dead-worker-pause (CH, read).
//!
//! Mechanism: a worker ends on an error. A pause waits for as many acks as there were threads, and is one short.
//!
//! Invariant: DEAD counts as quiescent, and a worker publishes it on every way out, after it has let go and
//! its device has said so.

use std::sync::Arc;

use devices::virtio::lifecycle::{State, status};
use devices::virtio::testing::Working;
use vcpu_state::Deadline;

use crate::checker::{await_at_least, join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("dead-worker-pause", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

#[derive(Default)]
struct Worker {
    paused: bool,
    acked: bool,
}

fn historic() {
    let worker = Arc::new(Monitor::new(Worker::default()));
    let thread = {
        let worker = Arc::clone(&worker);
        thread::spawn(move || {
            let paused = worker.lock().paused;
            if paused {
                worker.change(|worker| worker.acked = true);
            }
            // Otherwise it meets a request that it cannot serve, and that is its end.
        })
    };
    worker.change(|worker| worker.paused = true);
    drop(worker.wait_until(|worker| worker.acked));
    join(thread);
}

fn ours() {
    let mut device = Device::active(Working::Fails, 1, 1);
    device.send(0);
    drop(device.pause());
    await_at_least(&device.device.seen.ended, 1);
    assert_eq!(device.activator.workers().wait_dead(Deadline::Never), Ok(()));
    let word = device.registers.word();
    assert!(word.state() == State::Failed && word.has(status::NEEDS_RESET), "it did not say so");
    assert_eq!(device.workers(), 0, "a dead worker holds on to guest memory");
    device.end();
}
