//! What a disk counts.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts of all queues of a disk.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub read_ops: AtomicU64,
    pub read_bytes: AtomicU64,
    pub write_ops: AtomicU64,
    pub write_bytes: AtomicU64,
    pub flush_ops: AtomicU64,
    pub discard_ops: AtomicU64,
    pub errors: AtomicU64,
    pub throttled: AtomicU64,
}

impl Counters {
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: each is right on its own, and orders nothing.
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![
            ("read_ops", get(&self.read_ops)),
            ("read_bytes", get(&self.read_bytes)),
            ("write_ops", get(&self.write_ops)),
            ("write_bytes", get(&self.write_bytes)),
            ("flush_ops", get(&self.flush_ops)),
            ("discard_ops", get(&self.discard_ops)),
            ("errors", get(&self.errors)),
            ("throttled", get(&self.throttled)),
        ]
    }
}

/// Counts by how much. Relaxed: counts order nothing.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
