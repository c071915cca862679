//! A queue of an activated device, as its worker holds it.
//!
//! ```text
//!   driver ──available ring──▶ pop ──▶ Chain ──▶ (the device works) ──▶ push ──used ring──▶ driver
//!                                                                          flush ─▶ interrupt, if the driver wants it
//! ```
//!
//! Invariant: whatever the driver has written into the ring, nothing here panics, loops for ever or
//! touches memory that is not RAM: the answer is [`Malformed`].

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::chain::Chain;
use super::interrupt::VirtioInterrupt;
use super::malformed::Malformed;
use crate::event::Event;
use crate::memory::GuestMemory;

/// VIRTQ_AVAIL_F_NO_INTERRUPT (virtio 1.2, 2.7.6).
const AVAIL_F_NO_INTERRUPT: u16 = 1;

/// Bytes of an element of the used ring (virtio 1.2, 2.7.8).
const ELEMENT: usize = 8;
/// Elements that are written at one go.
const RUN: usize = 32;

/// What a virtqueue is made of.
pub struct QueueParts {
    /// Its index among the device's queues.
    pub index: u16,
    /// The ring, ready.
    pub queue: Queue,
    /// Guest RAM.
    pub memory: GuestMemory,
    /// Where its interrupt goes.
    pub interrupt: Arc<dyn VirtioInterrupt>,
    /// Notified when the driver has made buffers available.
    pub doorbell: Arc<Event>,
}

/// A request that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The descriptor that it began with.
    pub head: u16,
    /// Bytes of its writable part that were written.
    pub written: u32,
}

/// A split virtqueue with its driver's memory, interrupt and doorbell. One thread owns it.
///
/// A driver may take the ring back and bring another one while the device works (a reset of the queue). Without a ring nothing is
/// available, nothing is given back, nobody is interrupted, and no memory of the old ring is touched.
pub struct Virtqueue {
    parts: QueueParts,
    attached: bool,
    /// Buffers that have been pushed since the last flush.
    unflushed: u16,
}

impl Virtqueue {
    /// The queue of a driver that has enabled it.
    #[must_use]
    pub fn new(parts: QueueParts) -> Self {
        Self { parts, attached: true, unflushed: 0 }
    }

    /// The queue of a driver that has taken the ring back and not brought another one yet.
    pub(super) fn detached(parts: QueueParts) -> Self {
        Self { parts, attached: false, unflushed: 0 }
    }

    /// Whether it has a ring.
    pub(super) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Lets go of the ring.
    pub(super) fn detach(&mut self) {
        self.parts.queue.reset();
        self.attached = false;
        self.unflushed = 0;
    }

    /// Takes another ring, ready.
    pub(super) fn attach(&mut self, queue: Queue) {
        self.parts.queue = queue;
        self.attached = true;
    }

    /// Its index among the device's queues.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.parts.index
    }

    /// Descriptors of the ring.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.parts.queue.size()
    }

    /// Guest RAM.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.parts.memory
    }

    /// Notified when the driver has made buffers available.
    #[must_use]
    pub fn doorbell(&self) -> &Arc<Event> {
        &self.parts.doorbell
    }

    /// Where the device stands in the ring: the next available and the next used index.
    #[must_use]
    pub fn position(&self) -> (u16, u16) {
        (self.parts.queue.next_avail(), self.parts.queue.next_used())
    }

    /// Takes the next request off the available ring, into `chain`; false if there is none.
    ///
    /// # Errors
    /// The ring or the chain breaks the rules.
    pub fn pop(&mut self, chain: &mut Chain) -> Result<bool, Malformed> {
        if !self.attached {
            return Ok(false);
        }
        let QueueParts { queue, memory, .. } = &mut self.parts;
        let mut available = queue.iter(&*memory).map_err(|error| match error {
            virtio_queue::Error::InvalidAvailRingIndex => Malformed::AvailableIndex,
            _ => Malformed::Ring,
        })?;
        match available.next() {
            Some(descriptors) => chain.fill(memory, descriptors).map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts the request that [`Virtqueue::pop`] gave last back: the next pop gives it again.
    pub fn unpop(&mut self) {
        self.parts.queue.go_to_previous_position();
    }

    /// Gives a request back; `written` bytes of its writable part were written.
    ///
    /// # Errors
    /// The used ring does not lie in RAM.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), Malformed> {
        if !self.attached {
            return Ok(());
        }
        let QueueParts { queue, memory, .. } = &mut self.parts;
        self.unflushed = self.unflushed.saturating_add(1);
        queue.add_used(&*memory, head, written).map_err(|_| Malformed::Ring)
    }

    /// Gives several requests back, which the driver sees all at once or not at all.
    ///
    /// # Errors
    /// The used ring does not lie in RAM.
    pub fn push_together(&mut self, all: &[Used]) -> Result<(), Malformed> {
        let Some((last, others)) = all.split_last().filter(|_| self.attached) else {
            return Ok(());
        };
        let QueueParts { queue, memory, .. } = &mut self.parts;
        let first = queue.next_used();
        let mut slot = first % queue.size();
        let mut rest = others;
        while !rest.is_empty() {
            // As many as lie next to each other, at one go: up to the end of the ring.
            let run = rest.len().min(usize::from(queue.size() - slot)).min(RUN);
            let (now, later) = rest.split_at(run);
            // virtio 1.2, 2.7.8: the elements come behind flags and index, 2 bytes each.
            let gpa = queue.used_ring().checked_add(4 + ELEMENT as u64 * u64::from(slot));
            let gpa = GuestAddress(gpa.ok_or(Malformed::Ring)?);
            let mut elements = [0; ELEMENT * RUN];
            for (element, used) in elements.chunks_exact_mut(ELEMENT).zip(now) {
                element[..4].copy_from_slice(&u32::from(used.head).to_le_bytes());
                element[4..].copy_from_slice(&used.written.to_le_bytes());
            }
            memory.write_slice(&elements[..ELEMENT * run], gpa).map_err(|_| Malformed::Ring)?;
            // No more than RUN.
            slot = (slot + u16::try_from(run).unwrap_or(0)) % queue.size();
            rest = later;
        }
        // They are as many as chains that were popped, so no more than the ring has places.
        let count = u16::try_from(others.len()).unwrap_or(u16::MAX);
        queue.set_next_used(first.wrapping_add(count));
        self.unflushed = self.unflushed.saturating_add(count);
        // This is what moves the index on, past all of them.
        self.push(last.head, last.written)
    }

    /// Interrupts the driver if something has been pushed and it wants to know. To be called once after several
    /// pushes, and before the worker sleeps.
    ///
    /// # Errors
    /// The rings do not lie in RAM.
    pub fn flush(&mut self) -> Result<(), Malformed> {
        let pushed = std::mem::take(&mut self.unflushed);
        if pushed > 0 && self.driver_wants_interrupt(pushed)? {
            self.parts.interrupt.queue(self.parts.index);
        }
        Ok(())
    }

    /// Asks the driver for notifications again, before the worker sleeps. True if buffers have
    /// become available in the meantime: then it must not sleep.
    ///
    /// # Errors
    /// The rings do not lie in RAM.
    pub fn enable_notifications(&mut self) -> Result<bool, Malformed> {
        if !self.attached {
            return Ok(false);
        }
        let QueueParts { queue, memory, .. } = &mut self.parts;
        queue.enable_notification(&*memory).map_err(|_| Malformed::Ring)
    }

    /// Tells the driver that notifications are not needed while the worker is at it anyway.
    ///
    /// # Errors
    /// The rings do not lie in RAM.
    pub fn disable_notifications(&mut self) -> Result<(), Malformed> {
        if !self.attached {
            return Ok(());
        }
        let QueueParts { queue, memory, .. } = &mut self.parts;
        queue.disable_notification(&*memory).map_err(|_| Malformed::Ring)
    }

    /// Whether the driver wants to know of what was pushed last. What virtio-queue offers for that counts its own pushes
    /// only, and leaves the flag to its user.
    fn driver_wants_interrupt(&self, pushed: u16) -> Result<bool, Malformed> {
        let QueueParts { queue, memory, .. } = &self.parts;
        // The used index is written before the driver's wish is read. Pairs with the driver's barrier between writing
        // that and reading the index.
        fence(Ordering::SeqCst);
        let events = queue.event_idx_enabled();
        // virtio 1.2, 2.7.6 and 2.7.7: the flags come first, `used_event` behind the ring.
        let offset = if events { 4 + 2 * u64::from(queue.size()) } else { 0 };
        let gpa = queue.avail_ring().checked_add(offset).ok_or(Malformed::Ring)?;
        let wish: u16 =
            memory.load(GuestAddress(gpa), Ordering::Relaxed).map_err(|_| Malformed::Ring)?;
        let wish = u16::from_le(wish);
        if events {
            // It has been passed by one of the pushes: it is among the last `pushed` places before the index.
            return Ok(queue.next_used().wrapping_sub(wish).wrapping_sub(1) < pushed);
        }
        Ok(wish & AVAIL_F_NO_INTERRUPT == 0)
    }
}
