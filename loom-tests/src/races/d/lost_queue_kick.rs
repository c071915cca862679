//! lost-queue-kick (cy #138, CH #8004 #869 #341, FC #5969 #6100).
//!
//! Mechanism: a driver makes buffers available and rings; the ring is consumed before a pause (or is not part of a
//! snapshot), the buffers are not. After the resume the ring has buffers, and no event will come.
//!
//! Invariant: after every park a worker looks at each of its queues as if its doorbell had rung.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("lost-queue-kick", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(1));

#[derive(Default)]
struct Queue {
    paused: bool,
    available: u32,
    rung: bool,
}

fn historic() {
    let queue = Arc::new(Monitor::new(Queue::default()));
    let worker = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let mut served = 0;
            while served == 0 {
                drop(queue.wait_until(|queue| queue.rung));
                queue.change(|queue| queue.rung = false);
                drop(queue.wait_until(|queue| !queue.paused));
                served = queue.change(|queue| std::mem::take(&mut queue.available));
            }
        })
    };
    queue.change(|queue| queue.rung = true);
    queue.change(|queue| queue.paused = true);
    // What the driver made available and rang for is restored, but for the ring.
    queue.change(|queue| queue.paused = false);
    queue.change(|queue| queue.available = 1);
    join(worker);
}

fn ours() {
    let mut device = Device::active(Working::Serves, 1, 1);
    let paused = device.pause();
    device.send(0);
    device.registers.queues()[0].doorbell().clear();
    drop(paused);
    device.await_served(1);
    // One that is not lost, either: rung while a pause comes and goes.
    device.send(0);
    drop(device.pause());
    device.await_served(2);
    device.end();
}
