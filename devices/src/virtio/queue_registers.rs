//! The registers of one queue, and the ring that they describe.
//!
//! Invariant: what a driver has written into them is checked before a ring is made of it: the ring that a worker
//! gets lies in RAM, aligned, with a size that is a power of two and not above what the device offers.

mod ring;
mod saved;

use std::io;
use std::sync::Arc;

pub use saved::SavedQueue;

use super::queue_state::{QueueEvent, QueueState};
use crate::event::Event;
use crate::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A part of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The descriptor table (virtio 1.2, 2.7.5).
    Descriptors,
    /// The available ring, which the driver writes (2.7.6).
    Driver,
    /// The used ring, which the device writes (2.7.8).
    Device,
}

impl Area {
    const ALL: [Self; 3] = [Self::Descriptors, Self::Driver, Self::Device];

    const fn place(self) -> usize {
        self as usize
    }

    /// Alignment and bytes in a ring of this size (2.7).
    const fn shape(self, size: u16) -> (u64, usize) {
        let size = size as usize;
        match self {
            Self::Descriptors => (16, 16 * size),
            Self::Driver => (2, 6 + 2 * size),
            Self::Device => (4, 6 + 8 * size),
        }
    }
}

/// Half of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 0 to 31.
    Low,
    /// Bits 32 to 63.
    High,
}

/// What is wrong with a queue that a driver has enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFault {
    /// The size is 0, above the maximum, or no power of two.
    #[error("a ring cannot have {0} descriptors")]
    Size(u16),
    /// An area is not aligned.
    #[error("{area:?} at {address:#x} is not aligned")]
    Alignment {
        /// Which.
        area: Area,
        /// Where it is.
        address: u64,
    },
    /// The driver has not said where the available ring is: 0 is its value after a reset, and no place for it.
    #[error("{0:?} has no address")]
    NoAddress(Area),
    /// An area is not in RAM.
    #[error("{area:?} at {address:#x} is not in RAM")]
    NotInRam {
        /// Which.
        area: Area,
        /// Where it is.
        address: u64,
    },
}

/// The registers of one queue (virtio 1.2, 4.1.4.3). All but the state are relaxed: they are published to the activator by the
/// device's word, and to the worker that takes the queue again by the state.
pub struct QueueRegisters {
    max: u16,
    size: AtomicU16,
    state: AtomicU32,
    areas: [[AtomicU32; 2]; 3],
    /// Where the device stood in the ring when it was still: next available, next used.
    position: [AtomicU16; 2],
    doorbell: Arc<Event>,
}

impl QueueRegisters {
    pub(super) fn new(max: u16) -> io::Result<Self> {
        let address = || [AtomicU32::new(0), AtomicU32::new(0)];
        Ok(Self {
            max,
            size: AtomicU16::new(max),
            state: AtomicU32::new(QueueState::Disabled as u32),
            areas: [address(), address(), address()],
            position: [AtomicU16::new(0), AtomicU16::new(0)],
            doorbell: Arc::new(Event::new()?),
        })
    }

    /// Descriptors of the ring.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size.load(Ordering::Relaxed)
    }

    /// Who has it now.
    #[must_use]
    pub fn state(&self) -> QueueState {
        // Acquire: pairs with the release half of `change`.
        QueueState::from_bits(self.state.load(Ordering::Acquire))
    }

    /// Whether the driver has enabled it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state().is_enabled()
    }

    /// Half of the address of an area.
    #[must_use]
    pub fn address_half(&self, area: Area, half: Half) -> u32 {
        self.areas[area.place()][half as usize].load(Ordering::Relaxed)
    }

    /// Where an area is.
    #[must_use]
    pub fn address(&self, area: Area) -> u64 {
        let half = |half| u64::from(self.address_half(area, half));
        half(Half::Low) | half(Half::High) << 32
    }

    /// Where the device stood in the ring when it was still: the next available and the next used index.
    #[must_use]
    pub fn position(&self) -> (u16, u16) {
        let [available, used] = &self.position;
        (available.load(Ordering::Relaxed), used.load(Ordering::Relaxed))
    }

    /// Notified when the driver has made buffers available.
    #[must_use]
    pub fn doorbell(&self) -> &Arc<Event> {
        &self.doorbell
    }

    /// Takes a size, unless the queue is enabled. The caller has seen that the device is Inactive or the queue Empty; this
    /// goes for the other setters, too.
    pub fn set_size(&self, size: u16) {
        if !self.is_enabled() {
            self.size.store(size, Ordering::Relaxed);
        }
    }

    /// Takes half of an address, unless the queue is enabled.
    pub fn set_address_half(&self, area: Area, half: Half, value: u32) {
        if !self.is_enabled() {
            self.areas[area.place()][half as usize].store(value, Ordering::Relaxed);
        }
    }

    /// Enables it; only a reset disables it. The worker of one that comes back is rung.
    pub fn enable(&self) {
        if self.change(QueueEvent::Enable) == (QueueState::Empty, QueueState::Returning) {
            self.doorbell.notify();
        }
    }

    /// Asks for its reset, which has been done when the state is no longer Leaving. It is done at once if no worker has the queue.
    /// Never blocks.
    pub fn reset(&self) {
        match self.change(QueueEvent::Reset) {
            (QueueState::Enabled, QueueState::Disabled) => self.set_defaults(),
            (_, QueueState::Leaving) => self.doorbell.notify(),
            _ => {}
        }
    }

    /// A worker is to have it: whether there is a ring to be had.
    pub(super) fn take(&self) -> bool {
        self.change(QueueEvent::Take).1 == QueueState::Taken
    }

    /// Its worker has let go of its ring: as new, for the driver to set up again.
    pub(super) fn let_go(&self) {
        // Before the state says so: then the registers are the driver's.
        self.set_defaults();
        self.change(QueueEvent::LetGo);
    }

    /// The worker that had it is no more, and its reset is nobody's business any longer.
    pub(super) fn orphan(&self) {
        self.change(QueueEvent::Orphan);
    }

    /// One event, by compare-and-swap: what it was, and what it is.
    fn change(&self, event: QueueEvent) -> (QueueState, QueueState) {
        let mut old = self.state();
        loop {
            let new = old.after(event);
            // AcqRel: releases the registers that were written before to whoever reads the new state, and acquires those that
            // belong to the old one. Acquire on failure, as in `state`.
            let swapped = self.state.compare_exchange(
                old as u32,
                new as u32,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return (old, new),
                Err(now) => old = QueueState::from_bits(now),
            }
        }
    }

    pub(super) fn set_position(&self, (available, used): (u16, u16)) {
        self.position[0].store(available, Ordering::Relaxed);
        self.position[1].store(used, Ordering::Relaxed);
    }

    /// As new. What was rung before is forgotten: the driver is gone that meant it.
    pub(super) fn clear(&self) {
        self.change(QueueEvent::Clear);
        self.set_defaults();
        self.doorbell.clear();
    }

    fn set_defaults(&self) {
        self.size.store(self.max, Ordering::Relaxed);
        for half in self.areas.iter().flatten() {
            half.store(0, Ordering::Relaxed);
        }
        self.set_position((0, 0));
    }
}
