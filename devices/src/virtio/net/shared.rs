//! What the registers and the workers of one card share: atomics.

use super::counters::Counters;
use crate::sync::atomic::{AtomicU16, Ordering};

/// VIRTIO_NET_S_LINK_UP (virtio 1.2, 5.1.4).
const LINK_UP: u16 = 1;

/// What the registers and the workers of one card share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) counters: Counters,
    status: AtomicU16,
    active: AtomicU16,
}

impl Shared {
    pub(super) fn new() -> Self {
        let [status, active] = [LINK_UP, 1].map(AtomicU16::new);
        Self { counters: Counters::default(), status, active }
    }

    /// The field `status` of the configuration.
    pub(super) fn status(&self) -> u16 {
        // Relaxed: the driver is told of a change by an interrupt, which no memory of ours takes part in.
        self.status.load(Ordering::Relaxed)
    }

    /// The tap has gone, for good; whether that is news.
    pub(super) fn link_down(&self) -> bool {
        // Relaxed: as above. The swap alone decides who brings the news.
        self.status.swap(0, Ordering::Relaxed) != 0
    }

    /// How many queue pairs take packets from the host.
    pub(super) fn active(&self) -> u16 {
        // Acquire: pairs with `set_active`.
        self.active.load(Ordering::Acquire)
    }

    pub(super) fn set_active(&self, pairs: u16) {
        // Release: whoever reads it finds the tap's queue as it was made for it before.
        self.active.store(pairs, Ordering::Release);
    }
}
