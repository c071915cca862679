//! Limits of what a guest moves in a time: token buckets that all queues of a disk share without a lock.
//!
//! A bucket is one word: the time at which it will be full again if nobody spends anything (the theoretical arrival
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

use std::time::Instant;

use super::options::{Limits, TokenBucket};
use crate::sync::atomic::{AtomicU64, Ordering};

/// How long to wait, in nanoseconds, before it can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throttled(pub u64);

/// The limits of a disk.
pub(super) struct Limiter {
    /// What times are counted from.
    epoch: Instant,
    bandwidth: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            epoch: Instant::now(),
            bandwidth: limits.bandwidth.as_ref().map(Bucket::new),
            operations: limits.operations.as_ref().map(Bucket::new),
        }
    }

    pub fn is_limiting(&self) -> bool {
        self.bandwidth.is_some() || self.operations.is_some()
    }

    /// Pays for a request that moves so many bytes.
    pub fn pay(&self, bytes: u64) -> Result<(), Throttled> {
        if !self.is_limiting() {
            return Ok(());
        }
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.pay_at(bytes, now)
    }

    fn pay_at(&self, bytes: u64, now: u64) -> Result<(), Throttled> {
        let paid = self.operations.as_ref().map(|bucket| bucket.take(1, now)).transpose()?;
        let Some(bandwidth) = &self.bandwidth else { return Ok(()) };
        bandwidth.take(bytes, now).map(|_| ()).inspect_err(|_| {
            if let (Some(bucket), Some(paid)) = (&self.operations, paid) {
                bucket.give_back(paid);
            }
        })
    }
}

/// What was taken out of a bucket.
#[derive(Clone, Copy)]
struct Taken {
    burst: u64,
    cost: u64,
}

struct Bucket {
    size: u64,
    /// Nanoseconds.
    refill: u64,
    full_at: AtomicU64,
    burst: AtomicU64,
}

impl Bucket {
    fn new(options: &TokenBucket) -> Self {
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

    fn take(&self, tokens: u64, now: u64) -> Result<Taken, Throttled> {
        // Relaxed, here and below: a bucket's words guard no other memory.
        let burst = self
            .burst
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left - left.min(tokens))
            })
            .map_or(0, |left| left.min(tokens));
        let cost = self.cost(tokens - burst);
        let spent = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let begin = full_at.max(now);
            let missing = begin - now;
            let fits = missing == 0 || missing.saturating_add(cost) <= self.refill;
            fits.then(|| begin.saturating_add(cost))
        });
        let Err(full_at) = spent else { return Ok(Taken { burst, cost }) };
        self.burst.fetch_add(burst, Ordering::Relaxed);
        let missing = full_at.saturating_sub(now);
        // Until the rest fits; or, if it is larger than the bucket, until that is full.
        let wait = missing.saturating_add(cost).saturating_sub(self.refill).min(missing);
        Err(Throttled(wait.max(1)))
    }

    fn give_back(&self, taken: Taken) {
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
    fn what_one_bucket_refuses_costs_nothing_in_the_other() {
        let limits = Limits {
            bandwidth: Some(bucket(100, 0, 1000)),
            operations: Some(bucket(3, 1, 1_000_000)),
        };
        let limiter = Limiter::new(&limits);
        assert!(limiter.pay_at(100, 1).is_ok());
        for _ in 0..10 {
            assert!(limiter.pay_at(100, 1).is_err());
        }
        for _ in 0..3 {
            assert!(limiter.pay_at(0, 1).is_ok());
        }
        assert!(limiter.pay_at(0, 1).is_err(), "four requests, one of them from the burst");
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limiter = Limiter::new(&Limits::default());
        assert!(!limiter.is_limiting());
        assert!(limiter.pay(u64::MAX).is_ok());
    }
}
