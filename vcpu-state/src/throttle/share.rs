//! What a throttle has come to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sums for people. std's atomics: nothing is decided by them, so checkers need not see them.
#[derive(Debug, Default)]
pub(super) struct Measured {
    stopped: AtomicU64,
    running: AtomicU64,
    cycles: AtomicU64,
}

/// What a throttle has come to so far, by its own clock; cycles in which others held the members left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// For how long the members stood still.
    pub stopped: Duration,
    /// For how long they ran.
    pub running: Duration,
    /// Stops.
    pub cycles: u64,
}

impl Share {
    /// Stopped out of all, in percent; 0 before the first cycle.
    #[must_use]
    pub fn percent(&self) -> f64 {
        let (stopped, running) = (self.stopped.as_secs_f64(), self.running.as_secs_f64());
        if stopped > 0.0 { 100.0 * stopped / (stopped + running) } else { 0.0 }
    }
}

impl Measured {
    pub(super) fn load(&self) -> Share {
        // Relaxed throughout: numbers for people.
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Share {
            stopped: Duration::from_nanos(read(&self.stopped)),
            running: Duration::from_nanos(read(&self.running)),
            cycles: read(&self.cycles),
        }
    }

    pub(super) fn add(&self, running: Duration, stopped: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.running.fetch_add(nanos(running), Ordering::Relaxed);
        self.stopped.fetch_add(nanos(stopped), Ordering::Relaxed);
        self.cycles.fetch_add(1, Ordering::Relaxed);
    }
}
