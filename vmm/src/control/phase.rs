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

use atomic_enum::atomic_enum;
use vcpu_state::sync::atomic::Ordering;

use super::{ControlError, VmState};

/// Where the VM is in its life.
#[atomic_enum]
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
pub(super) enum Move {
    Create,
    Boot,
    Pause,
    Resume,
    Stop,
    Delete,
    /// What was begun is done.
    Done,
    /// What was begun failed, and has been taken back.
    Failed,
}

impl Phase {
    /// What `step` makes of it, or `None` if it makes nothing of it. Pure and total.
    pub(super) const fn next(self, step: Move) -> Option<Self> {
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
    pub(super) fn advance(&self, step: Move) -> Result<Phase, ControlError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 8] = [
        Phase::NotCreated,
        Phase::Created,
        Phase::Booting,
        Phase::Running,
        Phase::Pausing,
        Phase::Paused,
        Phase::Stopping,
        Phase::Shutdown,
    ];
    const MOVES: [Move; 8] = [
        Move::Create,
        Move::Boot,
        Move::Pause,
        Move::Resume,
        Move::Stop,
        Move::Delete,
        Move::Done,
        Move::Failed,
    ];

    #[test]
    fn what_is_begun_can_end_and_what_is_not_cannot() {
        for phase in PHASES {
            let passing = matches!(phase, Phase::Booting | Phase::Pausing | Phase::Stopping);
            assert_eq!(phase.next(Move::Done).is_some(), passing, "{phase:?}");
            let begun_by_a_request = MOVES[..6].iter().any(|m| phase.next(*m).is_some());
            assert_eq!(begun_by_a_request, !passing, "{phase:?}");
        }
    }

    #[test]
    fn from_every_phase_the_vm_can_be_got_rid_of() {
        for phase in PHASES {
            let mut reached = std::collections::HashSet::from([phase]);
            loop {
                let more: Vec<_> = reached
                    .iter()
                    .flat_map(|p| MOVES.iter().filter_map(|m| p.next(*m)))
                    .filter(|p| !reached.contains(p))
                    .collect();
                if more.is_empty() {
                    break;
                }
                reached.extend(more);
            }
            assert!(reached.contains(&Phase::NotCreated), "{phase:?} is a trap");
        }
    }

    #[test]
    fn a_refusal_names_both_phases_and_changes_nothing() {
        let phase = AtomicPhase::new(Phase::Running);
        let error = phase.advance(Move::Resume).unwrap_err();
        assert_eq!(error.to_string(), "cannot resume a VM that is Running; it must be Paused");
        assert_eq!(phase.load(Ordering::Acquire), Phase::Running);
        let nothing = AtomicPhase::new(Phase::NotCreated);
        assert!(matches!(nothing.advance(Move::Pause), Err(ControlError::NotCreated)));
    }
}
