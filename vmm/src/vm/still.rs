//! The still point of a whole VM: its vCPUs and its devices' workers.
//!
//! ```text
//!   running ──vCPUs stop──▶ ──workers drain and park──▶ Still ──workers go──▶ ──vCPUs go──▶ running
//! ```
//!
//! vCPUs first: what they asked of the devices before they stopped is in the rings, and the workers finish what
//! they have begun. On the way back the workers look at every queue before a vCPU can add to it.
//!
//! Invariant: while a [`Still`] lives, nothing changes the guest's memory or the devices' state on the guest's behalf.

use std::time::{Duration, Instant};

use vcpu_state::sync::Arc;
use vcpu_state::{Deadline, Group, PauseError, PauseParts, Quiesced, Resumed};

/// A VM did not come to a still point; it goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    /// Because of its vCPUs.
    #[error("vCPUs: {0}")]
    Vcpus(PauseError),
    /// Because of its devices' workers.
    #[error("device workers: {0}")]
    Workers(PauseError),
}

/// Proof that a VM stands still.
pub(super) struct Still {
    vcpus: Quiesced,
    workers: Quiesced,
    latency: Duration,
}

impl Still {
    /// Stops the vCPUs, then the workers.
    pub(super) fn reach(
        vcpus: &Arc<Group>,
        workers: &Arc<Group>,
        deadline: Deadline,
    ) -> Result<Self, StillError> {
        let begun = Instant::now();
        let vcpus = vcpus.pause(deadline).map_err(StillError::Vcpus)?;
        let workers = workers.pause(deadline).map_err(StillError::Workers)?;
        Ok(Self { vcpus, workers, latency: begun.elapsed() })
    }

    /// From the request to the still point.
    pub(super) fn latency(&self) -> Duration {
        self.latency
    }

    /// Where the time of the vCPUs went.
    pub(super) fn parts(&self) -> PauseParts {
        self.vcpus.parts()
    }

    /// Lets the workers go, then the vCPUs, whose threads wake when the answer is dropped.
    pub(super) fn release(self) -> Resumed {
        drop(self.workers);
        self.vcpus.release()
    }
}
