//! What a balloon counts.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts of one balloon, over all of its activations. They are statistics: nothing is ordered by them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) inflated: AtomicU64,
    pub(super) deflated: AtomicU64,
    pub(super) reported: AtomicU64,
    /// Ranges that the host did not take.
    pub(super) errors: AtomicU64,
    /// Page numbers outside of RAM, and requests that broke the rules.
    pub(super) malformed: AtomicU64,
}

impl Counters {
    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: see the type.
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("inflated_pages", get(&self.inflated)),
            ("deflated_pages", get(&self.deflated)),
            ("reported_pages", get(&self.reported)),
            ("host_errors", get(&self.errors)),
            ("malformed", get(&self.malformed)),
        ]
    }
}

/// Adds to a count.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    // Relaxed: see `Counters`.
    counter.fetch_add(count, Ordering::Relaxed);
}
