//! A set of pages: a bit each.

use super::{Layout, Run};

/// Pages of one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
    pages: u64,
}

impl PageSet {
    /// No pages of a layout.
    #[must_use]
    pub fn empty(layout: &Layout) -> Self {
        let words = usize::try_from(layout.pages().div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], pages: layout.pages() }
    }

    /// All pages of a layout.
    #[must_use]
    pub fn all(layout: &Layout) -> Self {
        let mut set = Self::empty(layout);
        set.insert(layout.all());
        set
    }

    /// Adds a run. Pages that the layout does not have are left out.
    pub fn insert(&mut self, run: Run) {
        self.each_word(run, |word, mask| *word |= mask);
    }

    /// Adds those pages of a run whose bits are set in a bitmap that begins with the run's first page.
    pub fn insert_bits(&mut self, run: Run, bits: &[u64]) {
        let at = usize::try_from(run.first() / 64).unwrap_or(usize::MAX);
        let shift = run.first() % 64;
        let mut left = run.count().min(self.pages.saturating_sub(run.first()));
        for (place, bits) in (at..).zip(bits) {
            if left == 0 {
                break;
            }
            let bits = bits & (u64::MAX >> (64 - left.min(64)));
            left -= left.min(64);
            let above = if shift == 0 { 0 } else { bits >> (64 - shift) };
            for (place, bits) in [(place, bits << shift), (place + 1, above)] {
                if let Some(word) = self.words.get_mut(place) {
                    *word |= bits;
                }
            }
        }
    }

    /// Takes a run out.
    pub fn remove(&mut self, run: Run) {
        self.each_word(run, |word, mask| *word &= !mask);
    }

    /// Adds all pages of another set of the same layout.
    pub fn add_all(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Whether a page is in it.
    #[must_use]
    pub fn contains(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.words.get(at));
        word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// The first page of the set at or behind this one.
    #[must_use]
    pub fn first_at(&self, page: u64) -> Option<u64> {
        self.next(page, 0)
    }

    /// How many pages are in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether no page is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The pages in ascending order, in runs as long as they are.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, 0)?;
            at = self.next(first, u64::MAX).unwrap_or(self.pages);
            Some(Run { first, count: at - first })
        })
    }

    /// The first page at or behind `page` that is in the set (`flip` 0), or not in it (`flip` all ones).
    fn next(&self, page: u64, flip: u64) -> Option<u64> {
        let start = usize::try_from(page / 64).ok()?;
        let mut mask = u64::MAX << (page % 64);
        for (at, word) in self.words.iter().enumerate().skip(start) {
            let found = (word ^ flip) & mask;
            if found != 0 {
                let page = at as u64 * 64 + u64::from(found.trailing_zeros());
                return (page < self.pages).then_some(page);
            }
            mask = u64::MAX;
        }
        None
    }

    fn each_word(&mut self, run: Run, change: impl Fn(&mut u64, u64)) {
        let end = run.end().min(self.pages);
        let mut page = run.first();
        while page < end {
            let until = end.min((page / 64 + 1) * 64);
            let mask = (u64::MAX >> (64 - (until - page))) << (page % 64);
            if let Some(word) =
                usize::try_from(page / 64).ok().and_then(|at| self.words.get_mut(at))
            {
                change(word, mask);
            }
            page = until;
        }
    }
}
