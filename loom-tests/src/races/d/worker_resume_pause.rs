//! worker-resume-pause (CH, read).
//!
//! Mechanism: a resume clears the flag and does not wait until the workers have left their parks. A pause that comes
//! at once finds the acks of the last one, and the workers half way out.
//!
//! Invariant: the vCPUs' protocol governs workers, too: a resume leaves no word PAUSED, and an ack answers one
//! request.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("worker-resume-pause", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("a worker works while it is paused");

#[derive(Default)]
struct Worker {
    paused: bool,
    parked: bool,
}

fn historic() {
    let worker = Arc::new(Monitor::new(Worker { paused: true, parked: false }));
    let works = Arc::new(AtomicBool::new(false));
    let thread = {
        let (worker, works) = (Arc::clone(&worker), Arc::clone(&works));
        thread::spawn(move || {
            worker.change(|worker| worker.parked = true);
            drop(worker.wait_until(|worker| !worker.paused));
            works.store(true, Ordering::Release);
            works.store(false, Ordering::Release);
            worker.change(|worker| worker.parked = false);
        })
    };
    drop(worker.wait_until(|worker| worker.parked));
    worker.change(|worker| worker.paused = false);
    // The next pause is at once.
    worker.change(|worker| worker.paused = true);
    if worker.lock().parked {
        assert!(!works.load(Ordering::Acquire), "a worker works while it is paused");
    }
    worker.change(|worker| worker.paused = false);
    join(thread);
}

fn ours() {
    let mut device = Device::active(Working::Serves, 1, 1);
    device.send(0);
    drop(device.pause());
    let paused = device.pause();
    device.assert_still();
    drop(paused);
    device.await_served(1);
    device.end();
}
