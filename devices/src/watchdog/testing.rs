//! A watchdog's clock without its thread, for tests and fuzzers that make up the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::count::Count;
use super::{Shared, Watchdog};

/// The clock. Times are since it was made, and never go back.
pub struct MadeUpClock {
    shared: Arc<Shared>,
    count: Count,
    origin: Instant,
}

impl MadeUpClock {
    /// Counts for this watchdog.
    #[must_use]
    pub fn of(watchdog: &Watchdog) -> Self {
        let shared = Arc::clone(&watchdog.shared);
        Self { shared, count: Count::default(), origin: Instant::now() }
    }

    /// Looks, as the thread does whenever something may have changed; whether the guest's time is up. Not while it stands still.
    pub fn look(&mut self, at: Duration) -> bool {
        self.count.look(&self.shared.registers, self.origin + at).expired
    }

    /// The VM is paused.
    pub fn stand_still(&mut self, at: Duration) {
        self.shared.left.set(self.count.stand_still(self.origin + at));
    }

    /// The VM is resumed.
    pub fn go_on(&mut self, at: Duration) {
        self.count.go_on(self.shared.left.get(), self.origin + at);
    }
}
