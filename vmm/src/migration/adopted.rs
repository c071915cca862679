//! What a VMM on this host passes of a VM that comes from it.
//!
//! ```text
//!   Nothing ──adopt──▶ Passed ──take: a VM is built around it──▶ Apart ──own: the other has given it away──▶ Own ──give_back──▶ Nothing
//! ```
//!
//! That is the memory's way. The disks' files become the VM's when it is built; whose they are their locks say, as in any migration.

use std::io;

use migration::engine::{AdoptedDisks, Adoption, AdoptionError};

use super::destination::RestoreError;
use crate::config::{NetFds, VmConfig};
use crate::memory::{Apart, GuestRam, MemoryError};

/// Why what was passed makes no VM.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdoptError {
    /// The disks.
    #[error(transparent)]
    Disks(#[from] AdoptionError),
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
    /// The memory's file, and those of disks.
    Passed(Adoption),
    /// The memory, which is the other's still.
    Apart(Apart),
    /// It is this VM's.
    Own(Apart),
}

impl Adopted {
    /// The memory for a VM of this configuration, if it was passed, and the files of its disks, if they were.
    ///
    /// # Errors
    /// They are not those of such a VM.
    pub(super) fn take(
        &mut self,
        config: &[u8],
        net_fds: &[NetFds],
    ) -> Result<(Option<GuestRam>, Option<AdoptedDisks>), AdoptError> {
        match std::mem::take(self) {
            Self::Passed(adoption) => {
                let config = VmConfig::arriving(config, net_fds).map_err(RestoreError::from)?;
                adoption.for_disks(config.disks.iter().filter_map(|disk| disk.id.as_deref()))?;
                let apart = GuestRam::adopt(&config.memory, adoption.memory)?;
                let ram = apart.ram().clone();
                *self = Self::Apart(apart);
                Ok((Some(ram), adoption.disks))
            }
            other => {
                *self = other;
                Ok((None, None))
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
