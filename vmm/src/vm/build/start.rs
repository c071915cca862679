//! What a VM begins with.
//!
//! ```text
//!   Boot:     fresh RAM ──kernel, tables──▶ first registers ──▶ held ──first resume──▶ the kernel's first instruction
//!   Restore:  RAM, filled before or after ──────────────────▶ held ──Vm::restore──▶ held ──first resume──▶ where the other stood
//! ```
//!
//! Invariant: nothing writes guest memory while a VM is built for a restore, so that it may hold the other's contents already.

use std::fs::File;

use vcpu_state::sync::Arc;

use super::payload::{cmdline, payload};
use super::{BuildError, MemoryConfig, VmConfig};
use crate::boot::{self, Entry};
use crate::memory::{GuestRam, MemoryError};

/// What a VM begins with.
#[derive(Clone, Debug)]
pub enum Start {
    /// The configuration's kernel.
    Boot,
    /// The state of another VM of the same configuration, which it is to be given before it is resumed.
    Restore {
        /// Memory that holds the other's, made for this configuration. Without it, the VM gets memory of zeros, to be filled.
        ram: Option<GuestRam>,
    },
    /// The same with memory that is still to come when it runs already ([`GuestRam::to_be_filled`]).
    RestoreLazily,
    /// The same with memory over a file that holds the other's, from which pages come when they are touched ([`GuestRam::over`]).
    RestoreOver {
        /// The file.
        file: Arc<File>,
    },
}

impl Start {
    /// The guest's RAM.
    pub(super) fn ram(
        &self,
        config: &MemoryConfig,
        address_bits: u8,
    ) -> Result<GuestRam, MemoryError> {
        match self {
            Self::Restore { ram: Some(ram) } => Ok(ram.clone()),
            Self::RestoreOver { file } => GuestRam::over(config, address_bits, Arc::clone(file)),
            Self::RestoreLazily => GuestRam::to_be_filled(config, address_bits),
            Self::Boot | Self::Restore { ram: None } => GuestRam::new(config, address_bits),
        }
    }

    /// Loads what is to be loaded, and tells where the first vCPU begins; a restored one stands somewhere.
    pub(super) fn load(
        &self,
        ram: &GuestRam,
        config: &VmConfig,
    ) -> Result<Option<Entry>, BuildError> {
        match self {
            Self::Boot => Ok(Some(boot::load(ram, &payload(config, &cmdline(config)))?.entry)),
            Self::Restore { .. } | Self::RestoreLazily | Self::RestoreOver { .. } => Ok(None),
        }
    }
}
