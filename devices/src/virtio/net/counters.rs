//! What a network card counts.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts of one card, over all of its queues and activations. They are statistics: nothing is ordered by them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: Flow,
    pub(super) sent: Flow,
    /// Chains and commands that broke the rules.
    pub(super) malformed: AtomicU64,
    /// Reads and writes that the host failed.
    pub(super) errors: AtomicU64,
}

/// Counts of one direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    throttled: AtomicU64,
}

impl Flow {
    /// A packet has passed; its header does not count.
    pub(super) fn packet(&self, bytes: usize) {
        add(&self.packets, 1);
        add(&self.bytes, bytes as u64);
    }

    /// A packet was dropped.
    pub(super) fn drop_one(&self) {
        add(&self.dropped, 1);
    }

    /// A packet has to wait for the limit.
    pub(super) fn throttle_one(&self) {
        add(&self.throttled, 1);
    }
}

impl Counters {
    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: see the type.
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("rx_packets", get(&self.received.packets)),
            ("rx_bytes", get(&self.received.bytes)),
            ("rx_dropped", get(&self.received.dropped)),
            ("rx_throttled", get(&self.received.throttled)),
            ("tx_packets", get(&self.sent.packets)),
            ("tx_bytes", get(&self.sent.bytes)),
            ("tx_dropped", get(&self.sent.dropped)),
            ("tx_throttled", get(&self.sent.throttled)),
            ("malformed", get(&self.malformed)),
            ("host_errors", get(&self.errors)),
        ]
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    // Relaxed: see `Counters`.
    counter.fetch_add(count, Ordering::Relaxed);
}
