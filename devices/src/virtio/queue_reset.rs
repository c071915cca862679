//! What a worker's thread does about a queue that its driver resets, or enables again (virtio 1.2, 2.6.1).
//!
//! ```text
//!   doorbell ─▶ Leaving?   drain ─▶ forget the ring ─▶ registers as new ─▶ Empty: the driver may reuse the memory
//!            └▶ Returning? check the registers ─▶ take ─▶ the new ring
//! ```
//!
//! One look a doorbell: whoever changes the state rings afterwards, so a change that comes later has a doorbell of its own.
//!
//! Invariant: when the state is Empty, nothing of the ring, and of what was in it, is touched any more.

use super::device::Features;
use super::queue::Virtqueue;
use super::queue_registers::QueueRegisters;
use super::queue_state::QueueState;
use super::registers::Registers;
use super::run_loop::{Death, guarded};
use super::worker::Worker;

/// Whether the worker had to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    Yes,
    No,
}

/// Does what the driver wants with a queue's ring: lets go of it, or takes another one.
pub(super) fn change_ring(
    index: u16,
    queue: &QueueRegisters,
    worker: &mut dyn Worker,
    registers: &Registers,
) -> Result<Drained, Death> {
    match queue.state() {
        QueueState::Leaving => {
            guarded(|| {
                worker.drain()?;
                with_queue(worker, index, Virtqueue::detach);
                Ok(())
            })?;
            queue.let_go();
            Ok(Drained::Yes)
        }
        QueueState::Returning => {
            let event_index = registers.accepted().has(Features::EVENT_IDX);
            let ring = queue.ring(registers.memory(), event_index);
            let ring = ring.map_err(|fault| Death::Queue { queue: index, fault })?;
            // Unless it has been reset again.
            if queue.take() {
                guarded(|| {
                    with_queue(worker, index, |queue| queue.attach(ring));
                    Ok(())
                })?;
            }
            Ok(Drained::No)
        }
        _ => Ok(Drained::No),
    }
}

fn with_queue(worker: &mut dyn Worker, index: u16, change: impl FnOnce(&mut Virtqueue)) {
    if let Some(queue) = worker.queues().into_iter().find(|queue| queue.index() == index) {
        change(queue);
    }
}
