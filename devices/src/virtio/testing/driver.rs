//! A driver's half of one queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::interrupts::Interrupts;
use crate::event::Event;
use crate::memory::GuestMemory;
use crate::virtio::{Activation, Features, Origin, QueueParts, Virtqueue};

/// Bytes of guest memory that each queue has for its rings and buffers.
const SPAN: u64 = 4 << 20;
/// Where the buffers begin in it.
const BUFFERS: u64 = 1 << 20;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// What a request consists of.
#[derive(Clone, Debug, Default)]
pub struct Buffers<'a> {
    /// What the device reads.
    pub readable: Vec<&'a [u8]>,
    /// The sizes of what it may write.
    pub writable: Vec<u32>,
}

/// A request that was made available.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its first descriptor.
    pub head: u16,
    /// Its writable buffers.
    pub writable: Vec<(GuestAddress, u32)>,
}

/// A driver of one queue. Descriptors and buffers are never used twice at a time: they go round.
pub struct Driver {
    /// Guest RAM.
    pub memory: GuestMemory,
    /// What the device raised.
    pub interrupts: Arc<Interrupts>,
    /// What the device is woken by.
    pub doorbell: Arc<Event>,
    index: u16,
    size: u16,
    base: u64,
    next_descriptor: u16,
    next_buffer: u64,
    available: u16,
    seen: u16,
}

impl Driver {
    /// Drivers of as many queues, of `size` descriptors each, in one guest memory.
    ///
    /// # Panics
    /// The host has no memory or no descriptor left.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without memory cannot go on")]
    pub fn queues(count: u16, size: u16) -> Vec<Self> {
        let span = usize::try_from(SPAN).expect("64 bits") * usize::from(count);
        let memory = crate::memory::anonymous(&[(GuestAddress(0), span)]).expect("guest memory");
        let interrupts = Arc::new(Interrupts::default());
        let driver = |index| Self {
            memory: memory.clone(),
            interrupts: Arc::clone(&interrupts),
            doorbell: Arc::new(Event::new().expect("an eventfd")),
            index,
            size,
            base: SPAN * u64::from(index),
            next_descriptor: 0,
            next_buffer: 0,
            available: 0,
            seen: 0,
        };
        (0..count).map(driver).collect()
    }

    /// Descriptors of its ring.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where its descriptor table is.
    #[must_use]
    pub fn descriptors(&self) -> GuestAddress {
        GuestAddress(self.base)
    }

    /// Where its available ring is.
    #[must_use]
    pub fn available_ring(&self) -> GuestAddress {
        GuestAddress(self.base + (512 << 10))
    }

    /// Where its used ring is.
    #[must_use]
    pub fn used_ring(&self) -> GuestAddress {
        GuestAddress(self.base + (768 << 10))
    }

    /// Where its buffers are.
    #[must_use]
    pub fn buffers(&self) -> GuestAddress {
        GuestAddress(self.base + BUFFERS)
    }

    /// Begins anew, with rings that hold nothing, after a reset of the queue.
    ///
    /// # Panics
    /// Never: the rings lie in RAM.
    #[expect(clippy::expect_used, reason = "the rings lie in RAM")]
    pub fn forget(&mut self) {
        (self.next_descriptor, self.available, self.seen) = (0, 0, 0);
        for ring in [self.available_ring(), self.used_ring()] {
            self.memory.write_obj(0_u32, ring).expect("RAM");
        }
    }

    /// The device's half of the queue.
    ///
    /// # Panics
    /// The size is none that a ring can have.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the test chose a size that no ring has")]
    pub fn virtqueue(&self, features: Features) -> Virtqueue {
        let mut queue = Queue::new(self.size).expect("a size that a ring can have");
        queue.try_set_desc_table_address(self.descriptors()).expect("aligned");
        queue.try_set_avail_ring_address(self.available_ring()).expect("aligned");
        queue.try_set_used_ring_address(self.used_ring()).expect("aligned");
        queue.set_event_idx(features.has(Features::EVENT_IDX));
        queue.set_ready(true);
        Virtqueue::new(QueueParts {
            index: self.index,
            queue,
            memory: self.memory.clone(),
            interrupt: Arc::clone(&self.interrupts) as _,
            doorbell: Arc::clone(&self.doorbell),
        })
    }

    /// Makes a request available, and rings.
    ///
    /// # Panics
    /// It has more buffers than the ring, or they do not fit into the memory.
    #[expect(clippy::expect_used, reason = "the test's request is too large")]
    pub fn send(&mut self, buffers: &Buffers<'_>) -> Sent {
        let readable = buffers.readable.iter().map(|data| {
            let len = u32::try_from(data.len()).expect("a small buffer");
            (Some(*data), len)
        });
        let all: Vec<_> = readable.chain(buffers.writable.iter().map(|len| (None, *len))).collect();
        assert!(!all.is_empty() && all.len() <= self.size.into(), "as many as fit in the ring");
        let head = self.next_descriptor;
        let mut writable = Vec::new();
        for (place, (data, len)) in all.iter().enumerate() {
            let gpa = self.buffer(*len);
            let mut flags = 0;
            if let Some(data) = data {
                self.memory.write_slice(data, gpa).expect("RAM");
            } else {
                flags |= WRITE;
                writable.push((gpa, *len));
            }
            if place + 1 < all.len() {
                flags |= NEXT;
            }
            self.describe(gpa, *len, flags);
        }
        self.offer(head);
        self.doorbell.notify();
        Sent { head, writable }
    }

    /// Puts a descriptor into the table as it is, for requests that break rules; gives its index.
    pub fn describe(&mut self, gpa: GuestAddress, len: u32, flags: u16) -> u16 {
        let index = self.next_descriptor;
        self.next_descriptor = (index + 1) % self.size;
        self.write_descriptor(index, (gpa, len, flags, self.next_descriptor));
        index
    }

    /// Overwrites a descriptor: address, length, flags, next.
    ///
    /// # Panics
    /// The index is beyond the memory.
    #[expect(clippy::expect_used, reason = "the test chose the index")]
    pub fn write_descriptor(&self, index: u16, raw: (GuestAddress, u32, u16, u16)) {
        let (gpa, len, flags, next) = raw;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&gpa.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        let place = GuestAddress(self.descriptors().0 + 16 * u64::from(index));
        self.memory.write_slice(&bytes, place).expect("RAM");
    }

    /// Makes the chain that begins with this descriptor available, without ringing.
    ///
    /// # Panics
    /// Never: the ring is in RAM.
    #[expect(clippy::expect_used, reason = "the ring is in RAM")]
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.size);
        let place = GuestAddress(self.available_ring().0 + 4 + 2 * slot);
        self.memory.write_obj(head.to_le(), place).expect("RAM");
        self.available = self.available.wrapping_add(1);
        let index = GuestAddress(self.available_ring().0 + 2);
        self.memory.store(self.available.to_le(), index, Ordering::Release).expect("RAM");
    }

    /// Asks for an interrupt for the next request that the device gives back, where EVENT_IDX was negotiated. What it has given back
    /// before may come without one: to be looked for afterwards.
    ///
    /// # Panics
    /// Never: the ring is in RAM.
    #[expect(clippy::expect_used, reason = "the ring is in RAM")]
    pub fn arm(&self) {
        let gpa = self.available_ring().0 + 4 + 2 * u64::from(self.size);
        self.memory.store(self.seen.to_le(), GuestAddress(gpa), Ordering::SeqCst).expect("RAM");
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// The next request that the device gave back: its head, and how many bytes it wrote.
    ///
    /// # Panics
    /// Never: the ring is in RAM.
    #[expect(clippy::expect_used, reason = "the ring is in RAM")]
    pub fn used(&mut self) -> Option<(u16, u32)> {
        let ring = self.used_ring().0;
        let index: u16 = self.memory.load(GuestAddress(ring + 2), Ordering::Acquire).expect("RAM");
        if u16::from_le(index) == self.seen {
            return None;
        }
        let slot = ring + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let head: u32 = self.memory.read_obj(GuestAddress(slot)).expect("RAM");
        let len: u32 = self.memory.read_obj(GuestAddress(slot + 4)).expect("RAM");
        Some((u16::try_from(u32::from_le(head)).unwrap_or(u16::MAX), u32::from_le(len)))
    }

    /// Bytes of guest RAM.
    ///
    /// # Panics
    /// They are not RAM.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the test chose the address")]
    pub fn read(&self, gpa: GuestAddress, len: u32) -> Vec<u8> {
        let mut data = vec![0; len as usize];
        self.memory.read_slice(&mut data, gpa).expect("RAM");
        data
    }

    fn buffer(&mut self, len: u32) -> GuestAddress {
        let room = SPAN - BUFFERS;
        assert!(u64::from(len) <= room, "the buffer fits into the memory");
        if self.next_buffer + u64::from(len) > room {
            self.next_buffer = 0;
        }
        let gpa = GuestAddress(self.buffers().0 + self.next_buffer);
        self.next_buffer += u64::from(len).next_multiple_of(16);
        gpa
    }
}

/// What a device is activated with by drivers of its queues.
///
/// # Panics
/// There is no driver.
#[must_use]
pub fn activation(drivers: &[Driver], features: Features) -> Activation {
    Activation {
        memory: drivers[0].memory.clone(),
        features,
        queues: drivers.iter().map(|driver| driver.virtqueue(features)).collect(),
        interrupt: Arc::clone(&drivers[0].interrupts) as _,
        origin: Origin::Driver,
    }
}
