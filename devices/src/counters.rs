//! Event counts of a device, as `vm.counters` shows them.

/// Something that counts what it does.
pub trait CounterSource: Send + Sync {
    /// Name and value of each counter. Values only grow while the device lives, and are each
    /// right on their own; they are not a snapshot of one instant.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}
