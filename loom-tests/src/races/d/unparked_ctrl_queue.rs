//! unparked-ctrl-queue (CH #2244).
//!
//! Mechanism: a device has a thread for its data queue and one for its control queue. Both park for a pause;
//! the resume unparks those on its list, and the control queue's thread is not on it.
//!
//! Invariant: every worker is seated in the same group, and what a pause parks the resume lets go.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("unparked-ctrl-queue", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(0), Bound::Preemptions(1));

#[derive(Default)]
struct Workers {
    parked: [bool; 2],
    unparked: [bool; 2],
}

fn historic() {
    let workers = Arc::new(Monitor::new(Workers::default()));
    let threads = [0, 1].map(|index| {
        let workers = Arc::clone(&workers);
        thread::spawn(move || {
            workers.change(|workers| workers.parked[index] = true);
            drop(workers.wait_until(|workers| workers.unparked[index]));
        })
    });
    drop(workers.wait_until(|workers| workers.parked == [true; 2]));
    // The list of the device's threads, without the control queue's.
    workers.change(|workers| workers.unparked[0] = true);
    threads.into_iter().for_each(join);
}

fn ours() {
    let mut device = Device::active(Working::Serves, 2, 2);
    drop(device.pause());
    device.send(1);
    device.await_served(1);
    device.end();
}
