//! barrier-arity (CH #7872 #7881).
//!
//! Mechanism: the barrier at which a device's workers meet the pauser is sized by the queues that the device
//! offers. The driver has enabled fewer, so fewer threads come.
//!
//! Invariant: a pause waits for acks that living members owe; seats without a thread owe none.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("barrier-arity", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

fn historic() {
    let offered_queues = 2;
    let barrier = Arc::new(Monitor::new(0));
    let meet = move |barrier: &Monitor<u32>| {
        barrier.change(|arrived| *arrived += 1);
        drop(barrier.wait_until(|arrived| *arrived == offered_queues + 1));
    };
    // One queue is enabled.
    let worker = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || meet(&barrier))
    };
    meet(&barrier);
    join(worker);
}

fn ours() {
    let mut device = Device::active(Working::Serves, 2, 1);
    drop(device.pause());
    device.send(0);
    device.await_served(1);
    device.end();
}
