//! What one half of a queue pair may move in a time.
//!
//! A packet of the guest is paid for before it leaves, and one for the guest when it has come, because nobody knows its
//! length before. Buckets are those of the card's direction, which all pairs share; the timer is the half's own.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::counters::Flow;
use crate::virtio::WorkerError;
use crate::virtio::limit::{Limiter, Throttled, Timer};

/// The limit of one half.
pub(super) struct Limit {
    limiter: Arc<Limiter>,
    /// Only where there are limits.
    timer: Option<Timer>,
    /// The next packet has been found to have to wait.
    throttled: bool,
}

impl Limit {
    pub(super) fn new(limiter: &Arc<Limiter>) -> std::io::Result<Self> {
        let timer = limiter.is_limiting().then(Timer::new).transpose()?;
        Ok(Self { limiter: Arc::clone(limiter), timer, throttled: false })
    }

    /// What becomes readable when a packet that had to wait may pass.
    pub(super) fn timer(&self) -> Option<BorrowedFd<'_>> {
        self.timer.as_ref().map(AsFd::as_fd)
    }

    /// Forgets that it has become readable.
    pub(super) fn clear(&self) {
        if let Some(timer) = &self.timer {
            timer.clear();
        }
    }

    /// Pays for a packet that is to be sent; false if it has to wait.
    pub(super) fn pay(&mut self, bytes: u32, counts: &Flow) -> Result<bool, WorkerError> {
        let paid = self.limiter.pay(bytes.into());
        self.passes(paid, counts)
    }

    /// Whether a packet may be received, for which [`Limit::charge`] is to be called.
    pub(super) fn look(&mut self, counts: &Flow) -> Result<bool, WorkerError> {
        let there = self.limiter.look();
        self.passes(there, counts)
    }

    /// Charges for a packet that has come.
    pub(super) fn charge(&self, bytes: u32) {
        self.limiter.charge(bytes.into());
    }

    fn passes(&mut self, paid: Result<(), Throttled>, counts: &Flow) -> Result<bool, WorkerError> {
        let Err(Throttled(wait)) = paid else {
            self.throttled = false;
            return Ok(true);
        };
        if !std::mem::replace(&mut self.throttled, true) {
            counts.throttle_one();
        }
        if let Some(timer) = &self.timer {
            let set = timer.set(wait);
            set.map_err(|source| WorkerError::Host { what: "set the timer of a limit", source })?;
        }
        Ok(false)
    }
}
