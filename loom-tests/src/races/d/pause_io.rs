//! pause-io (FC #2193).
//!
//! Mechanism: a pause stops the vCPUs. The devices' threads go on, and write to guest memory while it is saved.
//!
//! Invariant: a VM pause holds the workers' group, too. What a driver has made available waits for the resume.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("pause-io", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("a device works while its VM is paused");

fn historic() {
    let vcpus_paused = Arc::new(Monitor::new(false));
    let works = Arc::new(AtomicBool::new(false));
    let worker = {
        let works = Arc::clone(&works);
        thread::spawn(move || {
            works.store(true, Ordering::Release);
            works.store(false, Ordering::Release);
        })
    };
    vcpus_paused.change(|paused| *paused = true);
    assert!(!works.load(Ordering::Acquire), "a device works while its VM is paused");
    join(worker);
}

fn ours() {
    let mut device = Device::active(Working::Serves, 1, 1);
    let paused = device.pause();
    device.send(0);
    device.assert_still();
    let taken = device.device.seen.taken.load();
    assert!(taken == 0, "a device works while its VM is paused");
    drop(paused);
    device.await_served(1);
    device.end();
}
