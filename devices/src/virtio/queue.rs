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
use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::chain::Chain;
use super::interrupt::VirtioInterrupt;
use super::malformed::Malformed;
use crate::event::Event;
use crate::memory::GuestMemory;

/// VIRTQ_AVAIL_F_NO_INTERRUPT (virtio 1.2, 2.7.6).
const AVAIL_F_NO_INTERRUPT: u16 = 1;

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

/// A split virtqueue with its driver's memory, interrupt and doorbell. One thread owns it.
///
/// A driver may take the ring back and bring another one while the device works (a reset of the queue). Without a ring nothing is
/// available, nothing is given back, nobody is interrupted, and no memory of the old ring is touched.
pub struct Virtqueue {
    parts: QueueParts,
    attached: bool,
    /// Buffers have been pushed since the last flush.
    unflushed: bool,
}

impl Virtqueue {
    /// The queue of a driver that has enabled it.
    #[must_use]
    pub fn new(parts: QueueParts) -> Self {
        Self { parts, attached: true, unflushed: false }
    }

    /// Lets go of the ring.
    pub(super) fn detach(&mut self) {
        self.parts.queue.reset();
        self.attached = false;
        self.unflushed = false;
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
        self.unflushed = true;
        queue.add_used(&*memory, head, written).map_err(|_| Malformed::Ring)
    }

    /// Interrupts the driver if something has been pushed and it wants to know. To be called once after several
    /// pushes, and before the worker sleeps.
    ///
    /// # Errors
    /// The rings do not lie in RAM.
    pub fn flush(&mut self) -> Result<(), Malformed> {
        if !self.unflushed {
            return Ok(());
        }
        self.unflushed = false;
        if self.driver_wants_interrupt()? {
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

    fn driver_wants_interrupt(&mut self) -> Result<bool, Malformed> {
        let QueueParts { queue, memory, .. } = &mut self.parts;
        let wants = queue.needs_notification(&*memory).map_err(|_| Malformed::Ring)?;
        if queue.event_idx_enabled() {
            return Ok(wants);
        }
        // virtio-queue leaves this flag to its user. The fence that orders it after the used index is in
        // `needs_notification`.
        let flags = GuestAddress(queue.avail_ring());
        let flags: u16 = memory.load(flags, Ordering::Relaxed).map_err(|_| Malformed::Ring)?;
        Ok(u16::from_le(flags) & AVAIL_F_NO_INTERRUPT == 0)
    }
}
