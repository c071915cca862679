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
//! A VM that comes out of a snapshot or from another VMM, and one that goes to another:
//!
//! ```text
//!  NotCreated ──Restore──▶ Restoring ──Done──▶ Paused           Running, Paused ──Leave──▶ Leaving ──Done──▶ Stopping
//!      ▲                       │                                      Paused ◀──Failed───────┘ └──Doubt──▶ Doubtful
//!      └────────Failed─────────┘                                      Paused ◀──Keep── Doubtful ──Stop──▶ Stopping
//! ```
//!
//! `Leaving` is the last part of a migration: the state was saved, so the guest must do nothing more here unless the migration fails. A VM
//! that stays goes on by way of `Paused`, and from there at once unless its user holds it. In `Doubtful` only the other end may know whose it is.
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
    /// It is being built and filled with what was saved.
    Restoring,
    /// It stands still, and its state is on its way to another VMM.
    Leaving,
    /// It stands still, intact, and may be another VMM's: the operator has to say.
    Doubtful,
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
    /// A VM comes that was saved.
    Restore,
    /// Its state goes to another VMM.
    Leave,
    /// The operator says that it is here.
    Keep,
    /// Nobody here knows whether the other VMM has it.
    Doubt,
    /// What was begun is done.
    Done,
    /// What was begun failed, and has been taken back.
    Failed,
}

impl Phase {
    /// Each of them.
    pub const ALL: [Self; 11] = [
        Self::NotCreated,
        Self::Created,
        Self::Booting,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Stopping,
        Self::Shutdown,
        Self::Restoring,
        Self::Leaving,
        Self::Doubtful,
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
            (Self::Pausing | Self::Restoring, Move::Done)
            | (Self::Leaving, Move::Failed)
            | (Self::Doubtful, Move::Keep) => Some(Self::Paused),
            (Self::Running | Self::Paused | Self::Doubtful, Move::Stop)
            | (Self::Leaving, Move::Done) => Some(Self::Stopping),
            (Self::Stopping, Move::Done) => Some(Self::Shutdown),
            (Self::Created | Self::Shutdown, Move::Delete) | (Self::Restoring, Move::Failed) => {
                Some(Self::NotCreated)
            }
            (Self::NotCreated, Move::Restore) => Some(Self::Restoring),
            (Self::Running | Self::Paused, Move::Leave) => Some(Self::Leaving),
            (Self::Leaving, Move::Doubt) => Some(Self::Doubtful),
            _ => None,
        }
    }

    /// As the API names it; `None` without a VM.
    pub(super) const fn state(self) -> Option<VmState> {
        match self {
            Self::NotCreated => None,
            Self::Created | Self::Booting | Self::Restoring => Some(VmState::Created),
            Self::Running | Self::Pausing => Some(VmState::Running),
            Self::Paused | Self::Leaving | Self::Doubtful => Some(VmState::Paused),
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
    if phase == Phase::Doubtful {
        return ControlError::InDoubt;
    }
    let Some(state) = phase.state() else { return ControlError::NotCreated };
    let (action, needed) = match step {
        Move::Create | Move::Restore => return ControlError::AlreadyCreated,
        Move::Boot => ("boot", "Created or Shutdown"),
        Move::Pause => ("pause", "Running"),
        Move::Resume => ("resume", "Paused"),
        Move::Stop => ("shut down", "Running or Paused"),
        Move::Delete => ("delete", "Created or Shutdown"),
        Move::Leave => ("migrate", "Running or Paused"),
        Move::Keep => ("resolve the migration of", "in doubt"),
        Move::Doubt | Move::Done | Move::Failed => ("end a step of", "in one"),
    };
    ControlError::WrongPhase { action, state, needed }
}
