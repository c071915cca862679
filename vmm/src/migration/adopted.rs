//! What a VMM on this host passes of a VM that comes from it.
//!
//! ```text
//!   Nothing ──of──▶ Passed ──ram: a VM is built around it──▶ Apart ──own: the other has given it away──▶ Own ──give_back──▶ Nothing
//! ```

use std::io;
use std::os::fd::OwnedFd;

use migration::wire::{Part, Passed};

use super::destination::RestoreError;
use crate::config::{NetFds, VmConfig};
use crate::memory::{Apart, GuestRam, MemoryError};

/// Why what was passed makes no VM.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdoptError {
    /// Not one memory.
    #[error("{0} memories were passed where one should be")]
    Memories(usize),
    /// The memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] RestoreError),
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) enum Adopted {
    #[default]
    Nothing,
    /// The memory's file.
    Passed(OwnedFd),
    /// The memory, which is the other's still.
    Apart(Apart),
    /// It is this VM's.
    Own(Apart),
}

impl Adopted {
    /// From what was passed.
    ///
    /// # Errors
    /// There is no memory in it, or more than one.
    pub(super) fn of(passed: Vec<Passed>) -> Result<Self, AdoptError> {
        let memories = passed.into_iter().filter(|one| one.part == Part::Memory);
        let mut files: Vec<_> = memories.map(|one| one.file).collect();
        match (files.pop(), files.len()) {
            (Some(file), 0) => Ok(Self::Passed(file)),
            (None, _) => Err(AdoptError::Memories(0)),
            (Some(_), others) => Err(AdoptError::Memories(others + 1)),
        }
    }

    /// The memory for a VM of this configuration, if it was passed.
    ///
    /// # Errors
    /// It is not that of such a VM.
    pub(super) fn ram(
        &mut self,
        config: &[u8],
        net_fds: &[NetFds],
    ) -> Result<Option<GuestRam>, AdoptError> {
        match std::mem::take(self) {
            Self::Passed(file) => {
                let config = VmConfig::arriving(config, net_fds).map_err(RestoreError::from)?;
                let apart = GuestRam::adopt(&config.memory, file)?;
                let ram = apart.ram().clone();
                *self = Self::Apart(apart);
                Ok(Some(ram))
            }
            other => {
                *self = other;
                Ok(None)
            }
        }
    }

    /// The other has given it away.
    ///
    /// # Errors
    /// Somebody has it, or the host cannot map it.
    pub(super) fn own(&mut self) -> io::Result<()> {
        if let Self::Apart(apart) = self {
            apart.own()?;
        }
        *self = match std::mem::take(self) {
            Self::Apart(apart) => Self::Own(apart),
            other => other,
        };
        Ok(())
    }

    /// There is no VM that would need it: the other may have it back.
    pub(super) fn give_back(&mut self) {
        if let Self::Own(apart) = std::mem::take(self) {
            apart.ram().release();
        }
    }
}
