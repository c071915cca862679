//! The phase of the VM as one atomic enum, and the one function that says what may follow what.
//!
//! ```text
//!  NotCreated ──Create──▶ Created ──Boot──▶ Booting ──Done──▶ Running ◀──Resume── Paused
//!      ▲                     ▲                 │                │  └─Pause─▶ Pausing ─Done─▶ ┘
//!      │                     └─────Failed──────┘                │              │
//!      │                                                        │◀───Failed────┘
//!      └─Delete── Shutdown ◀──Done── Stopping ◀──Stop───────────┴── Paused
//!                    └──Boot──▶ Booting
//! ```
//!
//! Only the control thread moves it, by compare-and-swap; everybody may read it at any time.
//!
//! What a guest does by itself moves it, too, and may come in any phase: [`GuestEvent`] says what, and
//! [`Phase::after`] what follows.

mod guest;
#[cfg(any(loom, shuttle))]
mod model;
#[cfg(test)]
mod tests;

#[cfg(not(any(loom, shuttle)))]
use atomic_enum::atomic_enum;
use vcpu_state::sync::atomic::Ordering;

use super::{ControlError, VmState};
pub use guest::{Consequence, GuestEvent};
#[cfg(any(loom, shuttle))]
pub use model::AtomicPhase;

/// Where the VM is in its life.
#[cfg_attr(not(any(loom, shuttle)), atomic_enum)]
#[cfg_attr(any(loom, shuttle), derive(Clone, Copy, Debug))]
#[derive(PartialEq, Eq, Hash)]
pub enum Phase {
    /// There is no VM.
    NotCreated,
    /// It has a configuration, and no vCPU.
    Created,
    /// It is being built.
    Booting,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs have been asked to stop.
    Pausing,
    /// Every vCPU is quiescent.
    Paused,
    /// Its vCPUs are being ended.
    Stopping,
    /// It has run, and has no vCPU any longer.
    Shutdown,
}

/// Something that moves the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// A configuration comes.
    Create,
    /// The machine is to be built.
    Boot,
    /// The vCPUs are to stop.
    Pause,
    /// The vCPUs are to go on.
    Resume,
    /// The vCPUs are to end.
    Stop,
    /// The configuration goes.
    Delete,
    /// What was begun is done.
    Done,
    /// What was begun failed, and has been taken back.
    Failed,
}

impl Phase {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::NotCreated,
        Self::Created,
        Self::Booting,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Stopping,
        Self::Shutdown,
    ];

    /// What `step` makes of it, or `None` if it makes nothing of it. Pure and total.
    #[must_use]
    pub const fn next(self, step: Move) -> Option<Self> {
        match (self, step) {
            (Self::NotCreated, Move::Create) | (Self::Booting, Move::Failed) => Some(Self::Created),
            (Self::Created | Self::Shutdown, Move::Boot) => Some(Self::Booting),
            (Self::Booting, Move::Done)
            | (Self::Pausing, Move::Failed)
            | (Self::Paused, Move::Resume) => Some(Self::Running),
            (Self::Running, Move::Pause) => Some(Self::Pausing),
            (Self::Pausing, Move::Done) => Some(Self::Paused),
            (Self::Running | Self::Paused, Move::Stop) => Some(Self::Stopping),
            (Self::Stopping, Move::Done) => Some(Self::Shutdown),
            (Self::Created | Self::Shutdown, Move::Delete) => Some(Self::NotCreated),
            _ => None,
        }
    }

    /// As the API names it; `None` without a VM.
    pub(super) const fn state(self) -> Option<VmState> {
        match self {
            Self::NotCreated => None,
            Self::Created | Self::Booting => Some(VmState::Created),
            Self::Running | Self::Pausing => Some(VmState::Running),
            Self::Paused => Some(VmState::Paused),
            Self::Stopping | Self::Shutdown => Some(VmState::Shutdown),
        }
    }
}

impl AtomicPhase {
    /// Moves the phase, or says why it cannot be moved.
    ///
    /// # Errors
    /// The phase that it is in makes nothing of this move.
    pub fn advance(&self, step: Move) -> Result<Phase, ControlError> {
        // Acquire and AcqRel: pair with each other, so that who reads a phase sees what led to it.
        let mut now = self.load(Ordering::Acquire);
        loop {
            let next = now.next(step).ok_or_else(|| refusal(now, step))?;
            match self.compare_exchange(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(next),
                Err(moved) => now = moved,
            }
        }
    }
}

fn refusal(phase: Phase, step: Move) -> ControlError {
    let Some(state) = phase.state() else { return ControlError::NotCreated };
    let (action, needed) = match step {
        Move::Create => return ControlError::AlreadyCreated,
        Move::Boot => ("boot", "Created or Shutdown"),
        Move::Pause => ("pause", "Running"),
        Move::Resume => ("resume", "Paused"),
        Move::Stop => ("shut down", "Running or Paused"),
        Move::Delete => ("delete", "Created or Shutdown"),
        Move::Done | Move::Failed => ("end a step of", "in one"),
    };
    ControlError::WrongPhase { action, state, needed }
}
