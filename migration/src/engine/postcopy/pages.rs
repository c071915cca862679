//! A set of pages that threads take pages out of, each page once.

use vcpu_state::sync::atomic::{AtomicU64, Ordering};

use crate::memory::{Layout, PageSet, Run};

/// Pages of one layout, a bit each.
pub(super) struct SharedPages {
    layout: Layout,
    words: Vec<AtomicU64>,
    left: AtomicU64,
}

impl SharedPages {
    pub(super) fn new(layout: &Layout, set: &PageSet) -> Self {
        let word = |at: u64| {
            let pages = (0..64).filter(|bit| set.contains(at * 64 + bit));
            pages.fold(0, |word, bit| word | 1_u64 << bit)
        };
        let words = (0..layout.pages().div_ceil(64)).map(|at| AtomicU64::new(word(at)));
        let (words, left) = (words.collect(), AtomicU64::new(set.len()));
        Self { layout: layout.clone(), words, left }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn word(&self, page: u64) -> Option<(&AtomicU64, u64)> {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.words.get(at));
        word.map(|word| (word, 1 << (page % 64)))
    }

    pub(super) fn contains(&self, page: u64) -> bool {
        // Acquire: pairs with `take`; who finds a page gone finds what was done before it was taken.
        self.word(page).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// Takes a page out; whether this call did.
    pub(super) fn take(&self, page: u64) -> bool {
        // AcqRel: of all who try, one finds it.
        let taken =
            |(word, bit): (&AtomicU64, u64)| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0;
        let is_taken = self.word(page).is_some_and(taken);
        if is_taken {
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
        is_taken
    }

    /// Takes a page and those behind it, up to so many.
    pub(super) fn take_run(&self, first: u64, most: u64) -> Option<Run> {
        let count = (first..first.saturating_add(most)).take_while(|page| self.take(*page)).count();
        self.layout.run(first, count as u64)
    }

    /// The first page at or behind this one.
    pub(super) fn first_at(&self, page: u64) -> Option<u64> {
        let mut at = page / 64;
        let mut mask = u64::MAX << (page % 64);
        loop {
            let word = self.words.get(usize::try_from(at).ok()?)?;
            let bits = word.load(Ordering::Acquire) & mask;
            if bits != 0 {
                return Some(at * 64 + u64::from(bits.trailing_zeros()));
            }
            (at, mask) = (at + 1, u64::MAX);
        }
    }

    /// How many are left.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Region;

    #[test]
    fn each_page_is_taken_once_and_runs_end_where_pages_are_not() {
        let layout = Layout::new(vec![Region { gpa: 0, pages: 130 }]).unwrap();
        let mut set = PageSet::empty(&layout);
        for (first, count) in [(3, 2), (60, 10), (129, 1)] {
            set.insert(layout.run(first, count).unwrap());
        }
        let pages = SharedPages::new(&layout, &set);
        assert_eq!((pages.left(), pages.first_at(0), pages.first_at(5)), (13, Some(3), Some(60)));
        assert!(pages.take(61) && !pages.take(61) && !pages.take(0) && !pages.take(u64::MAX));
        assert_eq!(pages.take_run(60, 256), layout.run(60, 1));
        assert_eq!(pages.take_run(60, 256), None);
        assert_eq!(pages.take_run(62, 4), layout.run(62, 4));
        assert_eq!(pages.take_run(66, 256), layout.run(66, 4));
        assert_eq!(pages.take_run(129, 256), layout.run(129, 1));
        assert_eq!((pages.left(), pages.first_at(5)), (2, None));
        assert!(pages.contains(4) && !pages.contains(5) && !pages.contains(130));
    }
}
