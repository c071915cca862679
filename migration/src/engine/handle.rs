//! What other threads see of a migration, and how they end it.
//!
//! Nothing here waits or locks: progress is a few atomics, each right by itself, that the engine's thread writes.

use std::sync::OnceLock;
use std::time::Duration;

use vcpu_state::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use super::gate::{Gate, TooLate};
use super::phase::SourcePhase;
use crate::wire::Interrupter;

/// A source's migration, for other threads.
#[derive(Default)]
pub struct Handle {
    gate: Gate,
    interrupters: OnceLock<Vec<Interrupter>>,
    phase: AtomicU8,
    rounds: AtomicU32,
    throttle: AtomicU8,
    sent_bytes: AtomicU64,
    remaining_pages: AtomicU64,
    bandwidth: AtomicU64,
    dirty_rate: AtomicU64,
    expected_downtime: AtomicU64,
}

/// How far a migration is. The numbers are those of the last round that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Where it is.
    pub phase: SourcePhase,
    /// Rounds that ended.
    pub rounds: u32,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Pages that are to be sent as it looks now.
    pub remaining_pages: u64,
    /// What the link carries: memory, in bytes a second.
    pub bandwidth: u64,
    /// What the guest writes, in bytes a second.
    pub dirty_rate: u64,
    /// For how many per cent of the time the guest is held.
    pub throttle: u8,
    /// How long the guest would stand still if it were stopped now; `None` before the first round has ended.
    pub expected_downtime: Option<Duration>,
}

impl Progress {
    /// How long the rest would take if the guest wrote no more; `None` where the link's speed is not known.
    #[must_use]
    pub fn eta(&self) -> Option<Duration> {
        let bytes = self.remaining_pages.checked_mul(crate::memory::PAGE_SIZE as u64)?;
        Some(Duration::from_millis(bytes.checked_mul(1000)?.checked_div(self.bandwidth)?))
    }
}

impl Handle {
    /// A migration that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the migration; the source's VM is as it was before, soon.
    ///
    /// # Errors
    /// The VM is being handed over.
    pub fn cancel(&self) -> Result<(), TooLate> {
        self.gate.cancel()?;
        // Pairs with the fence of `begin`: either this finds the connections, or `begin` finds this.
        fence(Ordering::SeqCst);
        self.interrupt();
        Ok(())
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        // Relaxed: each number is right by itself.
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        let rounds = self.rounds.load(Ordering::Relaxed);
        let downtime = Duration::from_nanos(self.expected_downtime.load(Ordering::Relaxed));
        Progress {
            phase: SourcePhase::ALL.get(phase).copied().unwrap_or(SourcePhase::Connecting),
            rounds,
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            remaining_pages: self.remaining_pages.load(Ordering::Relaxed),
            bandwidth: self.bandwidth.load(Ordering::Relaxed),
            dirty_rate: self.dirty_rate.load(Ordering::Relaxed),
            throttle: self.throttle.load(Ordering::Relaxed),
            expected_downtime: (rounds > 0).then_some(downtime),
        }
    }

    /// Closes all connections.
    pub(super) fn interrupt(&self) {
        self.interrupt_from(0);
    }

    /// Closes all connections but the first so many.
    pub(super) fn interrupt_from(&self, first: usize) {
        let interrupters = self.interrupters.get().into_iter().flatten();
        interrupters.skip(first).for_each(|interrupt| interrupt());
    }

    /// The connections are these. A handle is for one migration.
    pub(super) fn begin(&self, interrupters: Vec<Interrupter>) {
        drop(self.interrupters.set(interrupters));
        fence(Ordering::SeqCst);
        if self.is_cancelled() {
            self.interrupt();
        }
    }

    /// From here on it cannot be cancelled; whether it was not before.
    pub(super) fn commit(&self) -> bool {
        self.gate.commit()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.gate.is_cancelled()
    }

    // Relaxed, all of these: each number is right by itself.

    pub(super) fn set_phase(&self, phase: SourcePhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn set_throttle(&self, percent: u8) {
        self.throttle.store(percent, Ordering::Relaxed);
    }

    pub(super) fn set_round(&self, round: &Round) {
        self.sent_bytes.store(round.sent_bytes, Ordering::Relaxed);
        self.remaining_pages.store(round.remaining_pages, Ordering::Relaxed);
        self.bandwidth.store(whole(round.bandwidth), Ordering::Relaxed);
        self.dirty_rate.store(whole(round.dirty_rate), Ordering::Relaxed);
        let downtime = u64::try_from(round.expected_downtime.as_nanos()).unwrap_or(u64::MAX);
        self.expected_downtime.store(downtime, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a round came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) sent_bytes: u64,
    pub(super) remaining_pages: u64,
    pub(super) bandwidth: f64,
    pub(super) dirty_rate: f64,
    pub(super) expected_downtime: Duration,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are not negative"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}
