//! inflight-park (CH #7020 #8356, FC #5582).
//!
//! Mechanism: a worker parks as soon as it is asked to. Requests that it has handed to the host are still in flight, and
//! end in guest memory when that has been saved.
//!
//! Invariant: a worker drains before it is PAUSED.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("inflight-park", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("a request is in flight while its worker is paused");

#[derive(Default)]
struct Worker {
    paused: bool,
    parked: bool,
}

fn historic() {
    let worker = Arc::new(Monitor::new(Worker { paused: true, parked: false }));
    let in_flight = Arc::new(AtomicU32::new(0));
    let thread = {
        let (worker, in_flight) = (Arc::clone(&worker), Arc::clone(&in_flight));
        thread::spawn(move || {
            in_flight.fetch_add(1, Ordering::AcqRel);
            worker.change(|worker| worker.parked = true);
            drop(worker.wait_until(|worker| !worker.paused));
            in_flight.fetch_sub(1, Ordering::AcqRel);
        })
    };
    drop(worker.wait_until(|worker| worker.parked));
    let left = in_flight.load(Ordering::Acquire);
    assert!(left == 0, "a request is in flight while its worker is paused");
    worker.change(|worker| worker.paused = false);
    join(thread);
}

fn ours() {
    let mut device = Device::active(Working::Holds, 1, 1);
    device.send(0);
    let paused = device.pause();
    device.assert_still();
    drop(paused);
    device.end();
}
