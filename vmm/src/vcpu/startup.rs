//! Waiting until every vCPU thread of a new VM has set itself up, or one has failed.
//!
//! ```text
//!   n threads ──arrive(Ok) / arrive(Err) / drop (a panic, too)──▶ left = 0 ──▶ wait() returns
//! ```
//!
//! Invariant: every thread counts down exactly once, on every path, so the wait always ends.

use crossbeam_queue::ArrayQueue;
use vcpu_state::sync::{Arc, FutexWord};

/// How many threads are still setting themselves up, and the first error among them.
pub struct Startup<E> {
    left: FutexWord,
    failures: ArrayQueue<E>,
}

/// One thread's end of it.
pub struct Arrival<E>(Arc<Startup<E>>);

impl<E> Startup<E> {
    /// For as many threads as [`Startup::expect`] will be called for.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { left: FutexWord::new(0), failures: ArrayQueue::new(1) })
    }

    /// One more thread to wait for.
    #[must_use = "dropping it is arriving"]
    pub fn expect(self: &Arc<Self>) -> Arrival<E> {
        self.left.add(1);
        Arrival(Arc::clone(self))
    }

    /// Waits until all have arrived; the first error, if there was one. To be called after the last
    /// [`Startup::expect`].
    ///
    /// # Errors
    /// What a thread arrived with.
    pub fn wait(&self) -> Result<(), E> {
        loop {
            match self.left.load() {
                0 => return self.failures.pop().map_or(Ok(()), Err),
                left => self.left.wait(left, None),
            }
        }
    }
}

impl<E> Arrival<E> {
    /// The thread is set up, or could not be.
    pub fn arrive(self, result: Result<(), E>) {
        if let Err(error) = result {
            // One is enough to tell.
            let _ = self.0.failures.push(error);
        }
    }
}

impl<E> Drop for Arrival<E> {
    fn drop(&mut self) {
        if self.0.left.sub(1) == 1 {
            self.0.left.wake_all();
        }
    }
}
