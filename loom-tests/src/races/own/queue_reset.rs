//! queue-reset-not-acked, queue-reset-lost-wake, queue-reset-dead-worker: a driver takes one ring back while its device works on.
//!
//! Mechanism: `queue_reset` reads 0 before the worker has let go, and the worker writes into memory that is the driver's again. Or the
//! worker looks for resets, clears its doorbell afterwards, and sleeps: the ring of the reset that came in between is lost. Or the worker
//! has died, and nobody is left to let go.
//!
//! Invariant: the worker that has the ring drains, forgets it, and says so in the queue's state by its last access; a doorbell is cleared
//! before the state is looked at; a worker that ends leaves its queues as orphans, whose reset nobody waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use devices::virtio::QueueRegisters;
use devices::virtio::testing::Working;

use crate::checker::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::checker::{await_at_least, join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// A ring that is reused.
pub const NOT_ACKED: Model = Model::race("queue-reset-not-acked", acked_early, REUSED, not_acked)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// A reset, and a ring that returns, while the worker falls asleep.
pub const LOST_WAKE: Model =
    Model::race("queue-reset-lost-wake", cleared_late, Finding::Deadlock, lost_wake)
        .explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// A reset of a queue whose worker dies.
pub const DEAD_WORKER: Model =
    Model::race("queue-reset-dead-worker", nobody_left, Finding::Deadlock, dead_worker)
        .explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// A reset that a pause overtakes.
pub const IN_PAUSE: Model = Model::basic("queue-reset-in-pause", in_pause);
/// A reset whose worker takes long to drain.
pub const IN_DRAIN: Model = Model::basic("queue-reset-in-drain", in_drain);

const REUSED: Finding = Finding::Violation("a worker writes into a ring that its driver reuses");

fn acked_early() {
    let enabled = Arc::new(AtomicBool::new(true));
    let used_index = Arc::new(AtomicU32::new(0));
    let worker = {
        let (enabled, used_index) = (Arc::clone(&enabled), Arc::clone(&used_index));
        thread::spawn(move || {
            if enabled.load(Ordering::Acquire) {
                used_index.fetch_add(1, Ordering::AcqRel);
            }
        })
    };
    // The reset, which is done as soon as it is written.
    enabled.store(false, Ordering::Release);
    used_index.store(0, Ordering::Release);
    join(worker);
    let used = used_index.load(Ordering::Acquire);
    assert!(used == 0, "a worker writes into a ring that its driver reuses");
}

#[derive(Default)]
struct Queue {
    rung: bool,
    leaving: bool,
    gone: bool,
}

fn cleared_late() {
    let queue = Arc::new(Monitor::new(Queue { rung: true, ..Queue::default() }));
    let worker = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let mut leaving = false;
            while !leaving {
                leaving = queue.wait_until(|queue| queue.rung).leaving;
                queue.change(|queue| queue.rung = false);
            }
            queue.change(|queue| queue.gone = true);
        })
    };
    queue.change(|queue| {
        queue.leaving = true;
        queue.rung = true;
    });
    drop(queue.wait_until(|queue| queue.gone));
    join(worker);
}

fn nobody_left() {
    let queue = Arc::new(Monitor::new(Queue::default()));
    let worker = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            if queue.lock().leaving {
                queue.change(|queue| queue.gone = true);
            }
            // Otherwise it meets a request that it cannot serve, and that is its end.
        })
    };
    queue.change(|queue| queue.leaving = true);
    drop(queue.wait_until(|queue| queue.gone));
    join(worker);
}

/// The registers of the only queue.
fn queue(device: &Device) -> &QueueRegisters {
    &device.registers.queues()[0]
}

/// Resets it.
fn ask(device: &Device) {
    assert!(device.registers.reset_queue(0), "a reset was refused");
}

/// Reads `queue_reset` until it is 0, as drivers do.
fn await_reset(device: &Device) {
    while queue(device).state().is_resetting() {
        thread::yield_now();
    }
    let in_flight = device.device.seen.in_flight.load(SeqCst);
    assert!(in_flight == 0, "queue_reset reads 0 while {in_flight} requests are in flight");
}

fn not_acked() {
    let mut device = Device::active(Working::Holds, 1, 1);
    device.send(0);
    device.send(0);
    ask(&device);
    await_reset(&device);
    let taken = device.device.seen.taken.load();
    // The memory is the driver's. Whatever is in it, and rung for, is none of the device's business.
    device.drivers[0].forget();
    device.send(0);
    device.send(0);
    drop(device.pause());
    let kept = device.drivers[0].used().is_none() && device.device.seen.taken.load() == taken;
    assert!(kept, "a worker writes into a ring that its driver reuses");
    device.end();
}

fn lost_wake() {
    let mut device = Device::active(Working::Serves, 1, 1);
    device.send(0);
    ask(&device);
    await_reset(&device);
    // It returns, and is reset again before or after its worker has it, or just then.
    device.set_up(0);
    ask(&device);
    await_reset(&device);
    let served = device.device.seen.served.load();
    device.drivers[0].forget();
    // What is in the ring when it returns has been rung for while nobody had it.
    device.send(0);
    device.set_up(0);
    device.await_served(served + 1);
    device.end();
}

fn dead_worker() {
    let mut device = Device::active(Working::Fails, 1, 1);
    device.send(0);
    ask(&device);
    await_reset(&device);
    // One that has not died yet has no ring to die of.
    if device.registers.word().cause().is_some() {
        await_at_least(&device.device.seen.ended, 1);
    }
    ask(&device);
    await_reset(&device);
    device.end();
}

fn in_pause() {
    let mut device = Device::active(Working::Holds, 1, 1);
    device.send(0);
    ask(&device);
    let paused = device.pause();
    let look = || (queue(&device).state(), queue(&device).position(), queue(&device).size());
    let saved = look();
    device.assert_still();
    assert!(look() == saved, "a queue changes while its VM is paused: {saved:?}");
    drop(paused);
    await_reset(&device);
    device.end();
}

fn in_drain() {
    let mut device = Device::active(Working::Sticks, 1, 1);
    device.send(0);
    await_at_least(&device.device.seen.taken, 1);
    ask(&device);
    for _ in 0..2 {
        assert!(
            queue(&device).state().is_resetting(),
            "queue_reset reads 0 in the midst of a drain"
        );
        // The worker's turn, which comes to the drain and no further.
        thread::yield_now();
    }
    device.device.seen.let_go.advance();
    await_reset(&device);
    device.end();
}
