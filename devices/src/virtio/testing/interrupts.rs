//! What a device under test raised.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::virtio::VirtioInterrupt;

/// Counts interrupts.
#[derive(Debug, Default)]
pub struct Interrupts {
    queues: AtomicU64,
    config: AtomicU64,
}

impl Interrupts {
    /// Interrupts of queues so far.
    #[must_use]
    pub fn queues(&self) -> u64 {
        self.queues.load(Ordering::SeqCst)
    }

    /// Configuration changes announced so far.
    #[must_use]
    pub fn config(&self) -> u64 {
        self.config.load(Ordering::SeqCst)
    }
}

impl VirtioInterrupt for Interrupts {
    fn queue(&self, _queue: u16) {
        self.queues.fetch_add(1, Ordering::SeqCst);
    }

    fn config(&self) {
        self.config.fetch_add(1, Ordering::SeqCst);
    }
}
