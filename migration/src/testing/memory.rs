//! Guest memory that several threads may use at once without a lock.

use std::io;

use crate::memory::{DestinationMemory, Layout, PAGE_SIZE, Region, Run, SourceMemory};
use vcpu_state::sync::atomic::{AtomicU64, Ordering};

/// Memory in words of eight bytes.
#[derive(Debug)]
pub struct ModelMemory {
    layout: Layout,
    words: Vec<AtomicU64>,
}

const WORDS: usize = PAGE_SIZE / 8;

impl ModelMemory {
    /// Zeros.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let words = usize::try_from(layout.pages()).unwrap_or(0) * WORDS;
        Self { layout: layout.clone(), words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Zeros in one region.
    #[must_use]
    pub fn of_pages(pages: u64) -> Option<Self> {
        Some(Self::new(&Layout::new(vec![Region { gpa: 0, pages }]).ok()?))
    }

    /// Gives every word of a page a value that depends on `value`; zeros for zero.
    pub fn fill(&self, page: u64, value: u64) {
        for (at, word) in self.page(page).iter().enumerate() {
            // Relaxed: whoever compares has joined whoever wrote.
            word.store(value.wrapping_mul(2 * at as u64 + 1), Ordering::Relaxed);
        }
    }

    /// All of it.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        // Relaxed: as above.
        self.words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn page(&self, page: u64) -> &[AtomicU64] {
        let first = usize::try_from(page).unwrap_or(usize::MAX).saturating_mul(WORDS);
        self.words.get(first..first + WORDS).unwrap_or_default()
    }

    fn range(&self, first: u64, bytes: usize) -> io::Result<&[AtomicU64]> {
        let run = self.layout.run(first, (bytes / PAGE_SIZE) as u64);
        let start = run.and_then(|run| usize::try_from(run.first()).ok()).map(|page| page * WORDS);
        let words = start.and_then(|start| self.words.get(start..start + bytes / 8));
        words.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl SourceMemory for ModelMemory {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        let words = self.range(first, into.len())?;
        for (word, bytes) in words.iter().zip(into.chunks_mut(8)) {
            // Relaxed: a torn page is in the dirty log.
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        Ok(())
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        let is_zero = |page| self.page(page).iter().all(|word| word.load(Ordering::Relaxed) == 0);
        let Some(first) = (run.first()..run.end()).find(|page| !is_zero(*page)) else {
            return Ok(None);
        };
        let end = (first..run.end()).find(|page| is_zero(*page)).unwrap_or(run.end());
        Ok(run.from(first).and_then(|run| run.until(end)))
    }
}

impl DestinationMemory for ModelMemory {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let words = self.range(first, pages.len())?;
        for (word, bytes) in words.iter().zip(pages.chunks(8)) {
            let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            // Relaxed: the guest starts after this thread was joined.
            word.store(value, Ordering::Relaxed);
        }
        Ok(())
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        (run.first()..run.end()).for_each(|page| self.fill(page, 0));
        Ok(())
    }
}
