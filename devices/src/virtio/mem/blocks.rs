//! Which blocks are plugged: a bit each, and how many they are.

use std::ops::Range;

use crate::sync::atomic::{AtomicU64, Ordering};

/// What blocks of a range are (virtio 1.2, 5.15.6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All plugged.
    Plugged = 0,
    /// All unplugged.
    Unplugged = 1,
    /// Some are, some are not.
    Mixed = 2,
}

/// The blocks of one machine.
///
/// Only a worker changes them, and there is one at a time: the activator's hand-over from one to the next orders what they do. Others read
/// only [`Blocks::plugged`], a number for itself. So every access is relaxed.
#[derive(Debug)]
pub(super) struct Blocks {
    words: Box<[AtomicU64]>,
    count: u64,
    plugged: AtomicU64,
}

const BITS: u64 = u64::BITS as u64;

impl Blocks {
    /// So many, none of them plugged.
    pub(super) fn new(count: u64) -> Self {
        let words = (0..count.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect();
        Self { words, count, plugged: AtomicU64::new(0) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many are plugged.
    pub(super) fn plugged(&self) -> u64 {
        self.plugged.load(Ordering::Relaxed)
    }

    /// A bit for each, from the lowest of the first word on.
    pub(super) fn save(&self) -> Vec<u64> {
        self.words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Whether they can be these.
    pub(super) fn can_be(&self, saved: &[u64]) -> bool {
        let beyond = self.count % BITS;
        let last = saved.last().copied().unwrap_or(0);
        saved.len() == self.words.len() && (beyond == 0 || last >> beyond == 0)
    }

    /// Makes them these, which they can be.
    pub(super) fn restore(&self, saved: &[u64]) {
        for (word, saved) in self.words.iter().zip(saved) {
            word.store(*saved, Ordering::Relaxed);
        }
        let plugged = saved.iter().map(|word| u64::from(word.count_ones())).sum();
        self.plugged.store(plugged, Ordering::Relaxed);
    }

    /// What the blocks of a range are, which is not empty and has no others than there are.
    pub(super) fn state(&self, range: &Range<u64>) -> State {
        match self.plugged_in(range) {
            0 => State::Unplugged,
            all if all == range.end - range.start => State::Plugged,
            _ => State::Mixed,
        }
    }

    /// They are plugged from now on.
    pub(super) fn plug(&self, range: &Range<u64>) {
        let before = self.plugged_in(range);
        for (word, mask) in self.parts(range) {
            word.fetch_or(mask, Ordering::Relaxed);
        }
        self.plugged.fetch_add(range.end - range.start - before, Ordering::Relaxed);
    }

    /// They are unplugged from now on.
    pub(super) fn unplug(&self, range: &Range<u64>) {
        let before = self.plugged_in(range);
        for (word, mask) in self.parts(range) {
            word.fetch_and(!mask, Ordering::Relaxed);
        }
        self.plugged.fetch_sub(before, Ordering::Relaxed);
    }

    fn plugged_in(&self, range: &Range<u64>) -> u64 {
        let count = |(word, mask): (&AtomicU64, u64)| {
            u64::from((word.load(Ordering::Relaxed) & mask).count_ones())
        };
        self.parts(range).map(count).sum()
    }

    /// The words that a range has a part in, each with the bits of that part.
    fn parts(&self, range: &Range<u64>) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let Range { start, end } = *range;
        let first = start / BITS;
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        self.words.iter().skip(skipped).zip(first..end.div_ceil(BITS)).map(move |(word, index)| {
            let base = index * BITS;
            let (from, to) = (start.max(base) - base, end.min(base + BITS) - base);
            // 1 to 64 bits: the zip ends with the range.
            (word, u64::MAX >> (BITS - (to - from)) << from)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_one_has_none_plugged() {
        let blocks = Blocks::new(65);
        assert_eq!((blocks.count(), blocks.plugged()), (65, 0));
        assert_eq!(blocks.state(&(0..65)), State::Unplugged);
        assert_eq!(Blocks::new(0).plugged(), 0);
    }

    fn range() -> impl Strategy<Value = Range<u64>> {
        (0_u64..200, 1_u64..200).prop_map(|(start, len)| start..(start + len).min(200))
    }

    proptest! {
        /// Against a set of numbers.
        #[test]
        fn they_are_a_set(ops in prop::collection::vec((any::<bool>(), range(), range()), 1..40)) {
            let blocks = Blocks::new(200);
            let mut set = BTreeSet::new();
            for (plug, range, looked_at) in ops {
                if plug {
                    blocks.plug(&range);
                    set.extend(range);
                } else {
                    blocks.unplug(&range);
                    set.retain(|block| !range.contains(block));
                }
                prop_assert_eq!(blocks.plugged(), set.len() as u64);
                let plugged = looked_at.clone().filter(|block| set.contains(block)).count() as u64;
                let expected = match plugged {
                    0 => State::Unplugged,
                    all if all == looked_at.end - looked_at.start => State::Plugged,
                    _ => State::Mixed,
                };
                prop_assert_eq!(blocks.state(&looked_at), expected);
            }
        }
    }
}
