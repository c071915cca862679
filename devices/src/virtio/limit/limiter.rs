//! Both limits of one device, or of one of its directions.

#[cfg(test)]
use std::sync::Arc;
use std::time::Instant;

use super::Throttled;
use super::bucket::Bucket;
use super::options::Limits;
#[cfg(test)]
use crate::sync::atomic::{AtomicU64, Ordering};

/// What the time is told by, in nanoseconds.
pub(crate) enum Clock {
    /// The host's, from this instant on.
    Host(Instant),
    /// A test's.
    #[cfg(test)]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    fn now(&self) -> u64 {
        match self {
            Self::Host(epoch) => u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX),
            #[cfg(test)]
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}

/// Limits, which all workers of what is limited share.
pub(crate) struct Limiter {
    clock: Clock,
    bandwidth: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, Clock::Host(Instant::now()))
    }

    pub(crate) fn with_clock(limits: &Limits, clock: Clock) -> Self {
        Self {
            clock,
            bandwidth: limits.bandwidth.as_ref().map(Bucket::new),
            operations: limits.operations.as_ref().map(Bucket::new),
        }
    }

    pub(crate) fn is_limiting(&self) -> bool {
        self.bandwidth.is_some() || self.operations.is_some()
    }

    /// Pays for a request that moves so many bytes.
    pub(crate) fn pay(&self, bytes: u64) -> Result<(), Throttled> {
        if !self.is_limiting() {
            return Ok(());
        }
        self.pay_at(bytes, self.clock.now())
    }

    /// Whether something may pass whose size is not known before it has: it is charged for afterwards.
    pub(crate) fn look(&self) -> Result<(), Throttled> {
        if !self.is_limiting() {
            return Ok(());
        }
        let now = self.clock.now();
        let buckets = [&self.bandwidth, &self.operations].into_iter().flatten();
        let waits = buckets.filter_map(|bucket| bucket.look(now).err());
        waits.max().map_or(Ok(()), Err)
    }

    /// Charges for one request of so many bytes, which has passed.
    pub(crate) fn charge(&self, bytes: u64) {
        if !self.is_limiting() {
            return;
        }
        let now = self.clock.now();
        for (bucket, tokens) in [(&self.bandwidth, bytes), (&self.operations, 1)] {
            if let Some(bucket) = bucket {
                bucket.charge(tokens, now);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::virtio::limit::TokenBucket;

    fn bucket(size: u64, one_time_burst: u64, refill: u64) -> TokenBucket {
        TokenBucket { size, one_time_burst, refill_time: Duration::from_nanos(refill) }
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
    fn one_that_pays_afterwards_waits_for_the_slower_of_both_buckets() {
        let clock = Arc::new(AtomicU64::new(1));
        let limits =
            Limits { bandwidth: Some(bucket(100, 0, 1000)), operations: Some(bucket(2, 0, 3000)) };
        let limiter = Limiter::with_clock(&limits, Clock::Manual(Arc::clone(&clock)));
        assert_eq!(limiter.look(), Ok(()));
        limiter.charge(250);
        assert_eq!(limiter.look(), Err(Throttled(1510)), "251 bytes, of which 100 were there");
        limiter.charge(0);
        limiter.charge(0);
        assert_eq!(limiter.look(), Err(Throttled(3000)));
        clock.store(3001, Ordering::Relaxed);
        assert_eq!(limiter.look(), Ok(()));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let limiter = Limiter::new(&Limits::default());
        assert!(!limiter.is_limiting());
        assert!(limiter.pay(u64::MAX).is_ok());
    }
}
