//! The watchdog's word as vCPUs and the clock share it.

use super::word::{Event, Word};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The word, and what has been counted.
pub(super) struct Registers {
    word: AtomicU64,
    pub(super) reloads: AtomicU64,
    pub(super) expiries: AtomicU64,
}

/// What came of an end of the second stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It is in the registers; the word then.
    Done(Word),
    /// The guest has reloaded, or switched it off, before.
    Overtaken,
}

impl Registers {
    pub(super) fn new(word: Word) -> Self {
        let zero = || AtomicU64::new(0);
        Self { word: AtomicU64::new(word.0), reloads: zero(), expiries: zero() }
    }

    /// The word now.
    pub(super) fn word(&self) -> Word {
        // Acquire: pairs with the release in `apply`.
        Word(self.word.load(Ordering::Acquire))
    }

    /// Makes the word this one, while neither vCPUs nor the clock touch it.
    pub(super) fn restore(&self, word: Word) {
        // Release: pairs with the acquire in `word`.
        self.word.store(word.0, Ordering::Release);
    }

    /// A write of the guest. Whether the clock has to look.
    pub(super) fn write(&self, event: Event) -> bool {
        let (before, after) = self.apply(event);
        if before.is_reload(event) {
            // Relaxed: a statistic.
            self.reloads.fetch_add(1, Ordering::Relaxed);
        }
        before.is_restarted() != after.is_restarted() || before.is_counting() != after.is_counting()
    }

    /// Takes the order to begin anew, if there is one; the word before.
    pub(super) fn take_restart(&self) -> Word {
        self.apply(Event::TakeRestart).0
    }

    /// The count has come to its end, unless the guest was faster.
    pub(super) fn expire(&self) -> Expiry {
        let mut now = self.word();
        loop {
            if !now.is_counting() || now.is_restarted() {
                return Expiry::Overtaken;
            }
            // Where the last expiry is still to be seen, nothing changes.
            let next = now.after(Event::Expire).unwrap_or(now);
            match self.replace(now, next) {
                Ok(()) => {
                    // Relaxed: a statistic.
                    self.expiries.fetch_add(1, Ordering::Relaxed);
                    return Expiry::Done(next);
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// The word before an event, and after it.
    fn apply(&self, event: Event) -> (Word, Word) {
        let mut now = self.word();
        loop {
            let Some(next) = now.after(event) else { return (now, now) };
            match self.replace(now, next) {
                Ok(()) => return (now, next),
                Err(seen) => now = seen,
            }
        }
    }

    fn replace(&self, now: Word, next: Word) -> Result<(), Word> {
        // AcqRel: what the writer did before is seen by whoever sees the word. Acquire: as `word`.
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.word.compare_exchange_weak(now.0, next.0, order.0, order.1).map(drop).map_err(Word)
    }
}
