//! The phase under a model checker, which does not see the atomics that `atomic_enum` makes: the same calls, over the
//! checker's.

use vcpu_state::sync::atomic::{AtomicU32, Ordering};

use super::Phase;

/// A [`Phase`] that threads share.
#[derive(Debug)]
pub struct AtomicPhase(AtomicU32);

impl AtomicPhase {
    /// One that is in this phase.
    pub fn new(phase: Phase) -> Self {
        Self(AtomicU32::new(phase as u32))
    }

    /// The phase.
    pub fn load(&self, order: Ordering) -> Phase {
        phase_of(self.0.load(order))
    }

    /// Replaces one phase by another; the phase that it was in.
    ///
    /// # Errors
    /// It was in another one.
    pub fn compare_exchange(
        &self,
        current: Phase,
        new: Phase,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Phase, Phase> {
        let exchanged = self.0.compare_exchange(current as u32, new as u32, success, failure);
        exchanged.map(phase_of).map_err(phase_of)
    }
}

/// Only what `Phase as u32` made is in there.
fn phase_of(number: u32) -> Phase {
    Phase::ALL.into_iter().find(|phase| *phase as u32 == number).unwrap_or(Phase::NotCreated)
}
