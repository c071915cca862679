//! A 32-bit word that threads can wait on: `futex(2)` in production, its model under a checker.
//!
//! The model follows the kernel: `wait` compares the value under the lock of the hash bucket and
//! sleeps in the same critical section; `wake` takes the same lock. Spurious returns are allowed.

use std::time::Duration;

use super::atomic::{AtomicU32, Ordering};

/// An atomic word with `futex(2)` waiting.
#[derive(Debug)]
pub struct FutexWord {
    value: AtomicU32,
    #[cfg(any(loom, shuttle))]
    bucket: model::Bucket,
}

impl FutexWord {
    /// A word with the given value and no waiter.
    #[must_use]
    pub fn new(value: u32) -> Self {
        Self {
            value: AtomicU32::new(value),
            #[cfg(any(loom, shuttle))]
            bucket: model::Bucket::new(),
        }
    }

    /// The value. Acquire: pairs with the release half of [`add`](Self::add) and [`sub`](Self::sub).
    pub fn load(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Adds (wrapping) and returns the value before. AcqRel: what the adder did before is visible to
    /// whoever loads the sum.
    pub fn add(&self, n: u32) -> u32 {
        self.value.fetch_add(n, Ordering::AcqRel)
    }

    /// Subtracts (wrapping) and returns the value before. AcqRel, as for [`add`](Self::add).
    pub fn sub(&self, n: u32) -> u32 {
        self.value.fetch_sub(n, Ordering::AcqRel)
    }

    /// Makes every waiter look again: a new generation, then one wake for all.
    pub fn advance(&self) {
        self.add(1);
        self.wake_all();
    }

    /// Sleeps while the value is `expected`, until a wake, a signal, or the time-out. May return
    /// spuriously; a model ignores the time-out, because no time-out decides correctness.
    #[cfg(not(any(loom, shuttle)))]
    pub fn wait(&self, expected: u32, timeout: Option<Duration>) {
        use rustix::thread::futex;
        let timeout = timeout.and_then(|t| futex::Timespec::try_from(t).ok());
        // EAGAIN (the value moved), EINTR and ETIMEDOUT all mean: look again.
        let _ = futex::wait(&self.value, futex::Flags::PRIVATE, expected, timeout.as_ref());
    }

    /// Wakes every waiter.
    #[cfg(not(any(loom, shuttle)))]
    pub fn wake_all(&self) {
        use rustix::thread::futex;
        // Fails only for an address that is not mapped or not aligned, and this is a reference.
        let _ = futex::wake(&self.value, futex::Flags::PRIVATE, i32::MAX.unsigned_abs());
    }

    /// Sleeps while the value is `expected` (model).
    #[cfg(any(loom, shuttle))]
    pub fn wait(&self, expected: u32, _timeout: Option<Duration>) {
        self.bucket.wait_while(|| self.value.load(Ordering::Acquire) == expected);
    }

    /// Wakes every waiter (model).
    #[cfg(any(loom, shuttle))]
    pub fn wake_all(&self) {
        self.bucket.wake_all();
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    //! The hash bucket of the kernel's futex, with the checker's mutex and condition variable.
    #[cfg(loom)]
    use loom::sync::{Condvar, Mutex};
    #[cfg(shuttle)]
    use shuttle::sync::{Condvar, Mutex};

    #[derive(Debug)]
    pub(super) struct Bucket {
        lock: Mutex<()>,
        sleepers: Condvar,
    }

    impl Bucket {
        pub(super) fn new() -> Self {
            Self { lock: Mutex::new(()), sleepers: Condvar::new() }
        }

        pub(super) fn wait_while(&self, asleep: impl Fn() -> bool) {
            if let Ok(guard) = self.lock.lock()
                && asleep()
            {
                drop(self.sleepers.wait(guard));
            }
        }

        pub(super) fn wake_all(&self) {
            let guard = self.lock.lock();
            self.sleepers.notify_all();
            drop(guard);
        }
    }
}
