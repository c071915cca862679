//! What has happened to a device, in numbers.

use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug)]
pub struct Count(AtomicU64);

impl Default for Count {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Count {
    /// It happened once more.
    pub(super) fn one(&self) {
        // Relaxed: a statistic.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has happened.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one virtio device.
#[derive(Debug, Default)]
pub struct Counts {
    /// Activations that succeeded.
    pub activations: Count,
    /// Resets that were carried out.
    pub resets: Count,
    /// Times that it asked for a reset (DEVICE_NEEDS_RESET).
    pub failures: Count,
    /// Rings and requests that broke the rules.
    pub malformed: Count,
    /// Workers that ended by themselves.
    pub worker_deaths: Count,
    /// Doorbells that were written in user space instead of in the kernel.
    pub notifications: Count,
}

impl CounterSource for Counts {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("activations", self.activations.get()),
            ("resets", self.resets.get()),
            ("failures", self.failures.get()),
            ("malformed", self.malformed.get()),
            ("worker_deaths", self.worker_deaths.get()),
            ("notifications", self.notifications.get()),
        ]
    }
}
