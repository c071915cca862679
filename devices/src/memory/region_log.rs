//! Which pages of one region of guest RAM were written: a bit each.
//!
//! ```text
//!   writer:     write the page ──▶ is it on? ──▶ set its bit ──▶ (tell the driver)
//!   collector:                     take the bits ──▶ read the pages
//! ```
//!
//! A bit is set after the write and before the driver can know of it. So a write is either seen by whoever reads the pages
//! after taking the bits, or its bit is in the next take, or both. A bit that was set first could be taken, and its page
//! read, before the write.
//!
//! Invariants: a log that is off costs a writer one relaxed load; bits are set by read-modify-writes only, also where one
//! is set already: a plain look could find a bit that is taken before the write is visible.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, fence};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

use crate::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a page: what a bit stands for.
pub const PAGE: usize = 4096;

/// The log of one region.
pub struct RegionLog {
    /// Out of a checker's sight: what makes it right is a barrier of the kernel's, and a look at it is no place to switch threads at.
    is_on: AtomicBool,
    /// Bytes of the region.
    len: usize,
    /// Made when it is switched on first.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl RegionLog {
    /// Whether it notes anything. Relaxed: what a writer misses that is about to be switched on, the barrier behind the
    /// switch puts before everything that is read then ([`WriteLog::start`](super::WriteLog::start)).
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Switches it on, with nothing noted; false if it is on already.
    pub(super) fn switch_on(&self) -> bool {
        let pages = self.len.div_ceil(PAGE);
        let make = || (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let words = self.words.get_or_init(make);
        if self.is_on() {
            return false;
        }
        for word in words {
            // Relaxed: one of a writer that still believes in the log before this one is a page too many.
            word.store(0, Ordering::Relaxed);
        }
        // Acquire and release: pairs with the fence of a writer that finds it on, which then sees the words.
        !self.is_on.swap(true, Ordering::AcqRel)
    }

    /// Switches it off.
    pub(super) fn switch_off(&self) {
        // Relaxed: who does not see it yet sets bits that nobody takes.
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// The pages that were noted since the last take: 64 to a word, from the region's first.
    pub(super) fn take(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.get().into_iter().flatten().map(|word| match word.load(Ordering::Relaxed) {
            // A bit that comes a moment later is there the next time.
            0 => 0,
            // Acquire: pairs with the release of whoever set a bit, so that its page is read as it was written.
            _ => word.swap(0, Ordering::Acquire),
        })
    }

    /// Notes a write, if it is on.
    #[inline]
    pub(super) fn mark(&self, offset: usize, len: usize) {
        if self.is_on() {
            self.note(offset, len);
        }
    }

    #[cold]
    fn note(&self, offset: usize, len: usize) {
        // Pairs with the release of the switch: the words are there.
        fence(Ordering::Acquire);
        let (Some(words), Some(last)) = (self.words.get(), len.checked_sub(1)) else { return };
        let mut page = offset / PAGE;
        let last = offset.saturating_add(last) / PAGE;
        while page <= last
            && let Some(word) = words.get(page / 64)
        {
            let count = (64 - page % 64).min(last - page + 1);
            // Release: pairs with the acquire of the take.
            word.fetch_or((u64::MAX >> (64 - count)) << (page % 64), Ordering::Release);
            page += count;
        }
    }

    fn has(&self, offset: usize) -> bool {
        let page = offset / PAGE;
        let word = self.words.get().and_then(|words| words.get(page / 64));
        // Acquire: as for a take.
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 == 1)
    }
}

impl Default for RegionLog {
    /// That of no page.
    fn default() -> Self {
        Self::with_len(0)
    }
}

impl fmt::Debug for RegionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionLog")
            .field("len", &self.len)
            .field("is_on", &self.is_on())
            .finish_non_exhaustive()
    }
}

impl NewBitmap for RegionLog {
    fn with_len(len: usize) -> Self {
        Self { is_on: AtomicBool::new(false), len, words: OnceLock::new() }
    }
}

impl<'a> WithBitmapSlice<'a> for RegionLog {
    type S = LogSlice<'a>;
}

impl Bitmap for RegionLog {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.mark(offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.has(offset)
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> LogSlice<'_> {
        LogSlice { log: self, base: offset }
    }
}

/// The log of a part of a region.
#[derive(Clone, Copy, Debug)]
pub struct LogSlice<'a> {
    log: &'a RegionLog,
    /// Where the part begins in the region.
    base: usize,
}

impl WithBitmapSlice<'_> for LogSlice<'_> {
    type S = Self;
}

impl BitmapSlice for LogSlice<'_> {}

impl Bitmap for LogSlice<'_> {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.log.mark(self.base.wrapping_add(offset), len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.log.has(self.base.wrapping_add(offset))
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> Self {
        Self { log: self.log, base: self.base.wrapping_add(offset) }
    }
}
