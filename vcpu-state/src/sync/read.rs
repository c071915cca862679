//! Reading a word: an acquiring load; under loom, how much of its freedom is explored.
//!
//! A load may see an older value than the newest. loom tries each, wherever a word is read, and that
//! multiplies: a model explored with all of them affords fewer preemptions than one in which every read
//! sees the newest value. So a model is explored both ways, and says how far each time.

use super::atomic::{AtomicU64, Ordering};

/// The word's value, by a load with acquire ordering.
#[cfg(not(loom))]
pub fn read(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

/// The word's value, as the model wants it read.
#[cfg(loom)]
pub fn read(word: &AtomicU64) -> u64 {
    if !NEWEST.load(std::sync::atomic::Ordering::Relaxed) {
        return word.load(Ordering::Acquire);
    }
    // A read-modify-write sees the newest value. No word has this one, so nothing is ever stored.
    match word.compare_exchange(u64::MAX, u64::MAX, Ordering::Acquire, Ordering::Acquire) {
        Ok(bits) | Err(bits) => bits,
    }
}

/// Which values a read of a word may see in a model.
#[cfg(loom)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Any that the memory model allows.
    Any,
    /// The newest.
    Newest,
}

/// Outside of the checker's sight: it is set once, before the first execution.
#[cfg(loom)]
static NEWEST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Decides for this process which values reads of words may see.
#[cfg(loom)]
pub fn set_reads(reads: Reads) {
    NEWEST.store(reads == Reads::Newest, std::sync::atomic::Ordering::Relaxed);
}
