//! The terminal's size: set by the host's console, read by vCPUs, announced by the worker.

use std::sync::Arc;

use crate::console::ConsoleSize;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::virtio::interrupt::VirtioInterrupt;

/// Columns in the lower half, rows in the upper; zero while there is none.
#[derive(Default)]
pub(super) struct Size(AtomicU32);

impl Size {
    /// Sets it; whether it was another one before.
    pub(super) fn set(&self, size: ConsoleSize) -> bool {
        let packed = u32::from(size.rows) << 16 | u32::from(size.columns);
        // Release pairs with the acquire in `packed`: who is interrupted for the change sees it.
        self.0.swap(packed, Ordering::AcqRel) != packed
    }

    pub(super) fn get(&self) -> ConsoleSize {
        let [c0, c1, r0, r1] = self.bytes();
        ConsoleSize { columns: u16::from_le_bytes([c0, c1]), rows: u16::from_le_bytes([r0, r1]) }
    }

    /// As they stand in the configuration: `cols`, `rows`.
    pub(super) fn bytes(&self) -> [u8; 4] {
        self.packed().to_le_bytes()
    }

    fn packed(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// What tells the driver of a size that it has not been told.
pub(super) struct Announcer {
    size: Arc<Size>,
    interrupt: Arc<dyn VirtioInterrupt>,
    /// Packed; zero, which is no size, at first.
    announced: u32,
}

impl Announcer {
    /// For a driver that has been told nothing.
    pub(super) fn new(size: Arc<Size>, interrupt: Arc<dyn VirtioInterrupt>) -> Self {
        Self { size, interrupt, announced: 0 }
    }

    /// Announces the size, if it is another one than the last time.
    pub(super) fn announce(&mut self) {
        let now = self.size.packed();
        if now != self.announced {
            self.announced = now;
            self.interrupt.config();
        }
    }
}
