//! A token bucket that several threads share without a lock.
//!
//! It is one word: the time at which it will be full again if nobody spends anything (the theoretical arrival
//! time of the generic cell rate algorithm). Spending moves that time on; what has not passed of it is what is missing
//! in the bucket.
//!
//! ```text
//!            ◀────────── refill time: an empty bucket ──────────▶
//!   ─────────┼───────────────────┼──────────────────────────────┼──▶ time
//!           now                 full                            no more than this far ahead
//!            ◀── missing tokens ─▶◀─── tokens that are there ───▶
//! ```
//!
//! Invariants: a request that is larger than the bucket passes when the bucket is full, and is paid for afterwards;
//! what is refused costs nothing.

use super::Throttled;
use super::options::TokenBucket;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What was taken out of a bucket.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    burst: u64,
    cost: u64,
}

pub(super) struct Bucket {
    size: u64,
    /// Nanoseconds.
    refill: u64,
    full_at: AtomicU64,
    burst: AtomicU64,
}

// Relaxed throughout: a bucket's words guard no other memory.
impl Bucket {
    pub(super) fn new(options: &TokenBucket) -> Self {
        Self {
            size: options.size.max(1),
            refill: u64::try_from(options.refill_time.as_nanos()).unwrap_or(u64::MAX / 4),
            full_at: AtomicU64::new(0),
            burst: AtomicU64::new(options.one_time_burst),
        }
    }

    /// Nanoseconds that it takes to fill in so many tokens.
    fn cost(&self, tokens: u64) -> u64 {
        let cost = u128::from(tokens) * u128::from(self.refill) / u128::from(self.size);
        u64::try_from(cost).unwrap_or(u64::MAX / 4)
    }

    /// Takes tokens out, or says when they will be there.
    pub(super) fn take(&self, tokens: u64, now: u64) -> Result<Taken, Throttled> {
        let burst = self.take_burst(tokens);
        let cost = self.cost(tokens - burst);
        let spent = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let begin = full_at.max(now);
            let missing = begin - now;
            let fits = missing == 0 || missing.saturating_add(cost) <= self.refill;
            fits.then(|| begin.saturating_add(cost))
        });
        let Err(full_at) = spent else { return Ok(Taken { burst, cost }) };
        self.burst.fetch_add(burst, Ordering::Relaxed);
        Err(Throttled(self.wait(full_at.saturating_sub(now), cost).max(1)))
    }

    /// How long until so much fits when so much is missing; or, if it is larger than the bucket, until that is full.
    fn wait(&self, missing: u64, cost: u64) -> u64 {
        missing.saturating_add(cost).saturating_sub(self.refill).min(missing)
    }

    /// Whether a token is there, which is not taken.
    pub(super) fn look(&self, now: u64) -> Result<(), Throttled> {
        if self.burst.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(now);
        match self.wait(missing, self.cost(1)) {
            0 => Ok(()),
            wait => Err(Throttled(wait)),
        }
    }

    /// Takes tokens out, there or not: whoever comes next waits until those are filled in that were not.
    pub(super) fn charge(&self, tokens: u64, now: u64) {
        let burst = self.take_burst(tokens);
        let cost = self.cost(tokens - burst);
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(full_at.max(now).saturating_add(cost))
        });
    }

    fn take_burst(&self, tokens: u64) -> u64 {
        let less = |left: u64| Some(left - left.min(tokens));
        let before = self.burst.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before.map_or(0, |left| left.min(tokens))
    }

    /// Puts back what was taken out.
    pub(super) fn give_back(&self, taken: Taken) {
        self.burst.fetch_add(taken.burst, Ordering::Relaxed);
        self.full_at.fetch_sub(taken.cost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bucket(size: u64, one_time_burst: u64, refill: u64) -> TokenBucket {
        TokenBucket { size, one_time_burst, refill_time: Duration::from_nanos(refill) }
    }

    #[test]
    fn a_bucket_gives_its_size_at_once_and_then_its_rate() {
        let bucket = Bucket::new(&bucket(10, 0, 1000));
        for _ in 0..10 {
            assert!(bucket.take(1, 5000).is_ok());
        }
        assert_eq!(bucket.take(1, 5000).err(), Some(Throttled(100)));
        assert_eq!(bucket.take(1, 5099).err(), Some(Throttled(1)));
        assert!(bucket.take(1, 5100).is_ok());
        assert_eq!(bucket.take(3, 5100).err(), Some(Throttled(300)));
        // Full again, and no fuller, after any time.
        assert!(bucket.take(10, 1_000_000).is_ok());
        assert!(bucket.take(1, 1_000_000).is_err());
    }

    #[test]
    fn the_burst_is_there_once() {
        let bucket = Bucket::new(&bucket(10, 5, 1000));
        assert!(bucket.take(15, 1).is_ok());
        assert!(bucket.take(1, 1).is_err());
        assert!(bucket.take(10, 1001).is_ok());
        assert!(bucket.take(1, 1001).is_err());
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_for_afterwards() {
        let bucket = Bucket::new(&bucket(10, 0, 1000));
        assert!(bucket.take(25, 1).is_ok());
        assert_eq!(bucket.take(25, 1).err(), Some(Throttled(2500)));
        assert!(bucket.take(25, 2501).is_ok());
    }

    #[test]
    fn what_is_charged_is_waited_for_by_whoever_comes_next() {
        let bucket = Bucket::new(&bucket(10, 5, 1000));
        assert!(bucket.look(1).is_ok());
        bucket.charge(14, 1);
        assert!(bucket.look(1).is_ok(), "one token is left");
        bucket.charge(21, 1);
        assert_eq!(bucket.look(1).err(), Some(Throttled(2100)));
        assert_eq!(bucket.look(2100).err(), Some(Throttled(1)));
        assert!(bucket.look(2101).is_ok());
    }
}
