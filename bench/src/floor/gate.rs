//! Where stopped threads stand: one countdown to stop, one generation to go on.
//!
//! Only one thread asks, waits and opens; any number stop.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vcpu_state::sync::FutexWord;

use super::signal;

/// The scheduling policy of a thread while it is stopped (sched(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileStopped {
    /// As it was: on waking it may preempt the thread that wakes it.
    Ordinary,
    /// SCHED_BATCH: it does not.
    Batch,
}

/// Threads stop here, and go on together.
pub(super) struct Gate {
    /// Threads that have not stopped yet.
    owed: FutexWord,
    /// What stopped threads sleep on.
    generation: FutexWord,
    /// Threads that were let go and have not run yet.
    asleep: FutexWord,
    /// Threads asked since the gate was opened last.
    asked: AtomicU32,
    /// When the last thread stopped, in nanoseconds after `origin`.
    last: AtomicU64,
    /// Nobody stops here any longer.
    closed: AtomicBool,
    origin: Instant,
    parked: WhileStopped,
}

impl Gate {
    pub(super) fn new(parked: WhileStopped) -> Self {
        Self {
            owed: FutexWord::new(0),
            generation: FutexWord::new(0),
            asleep: FutexWord::new(0),
            asked: AtomicU32::new(0),
            last: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            origin: Instant::now(),
            parked,
        }
    }

    /// So many threads are going to be signalled.
    pub(super) fn expect(&self, threads: u32) {
        // Relaxed: read by the thread that writes it.
        self.asked.fetch_add(threads, Ordering::Relaxed);
        self.owed.add(threads);
    }

    /// Stops the calling thread. Called by a signal handler: atomics and system calls only.
    pub(super) fn stop_here(&self) {
        let generation = self.generation.load();
        if self.parked == WhileStopped::Batch {
            signal::become_batch();
        }
        // Relaxed: ordered before the count by its release.
        self.last.fetch_max(self.now(), Ordering::Relaxed);
        if self.owed.sub(1) == 1 {
            self.owed.wake_all();
        }
        // Acquire: pairs with `close`, whose wake makes this look again.
        while self.generation.load() == generation && !self.closed.load(Ordering::Acquire) {
            self.generation.wait(generation, None);
        }
        if self.parked == WhileStopped::Batch {
            signal::become_ordinary();
        }
        if self.asleep.sub(1) == 1 {
            self.asleep.wake_all();
        }
    }

    /// Waits until every thread asked has stopped; gives the instant at which the last one did.
    pub(super) fn wait_for_all(&self) -> Instant {
        wait_for_zero(&self.owed);
        // Relaxed: the count that reached zero was read with acquire.
        self.origin + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Lets the stopped threads go.
    pub(super) fn open(&self) {
        self.asleep.add(self.asked.swap(0, Ordering::Relaxed));
        self.generation.advance();
    }

    /// Waits until every thread that was let go has run.
    pub(super) fn wait_awake(&self) {
        wait_for_zero(&self.asleep);
    }

    /// Lets everybody go, for good.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.open();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Waits until the count is zero; who makes it zero wakes.
pub(super) fn wait_for_zero(count: &FutexWord) {
    loop {
        match count.load() {
            0 => return,
            some => count.wait(some, None),
        }
    }
}
