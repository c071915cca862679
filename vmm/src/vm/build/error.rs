//! Why a VM cannot be built.

use crate::acpi::AcpiError;
use crate::boot::BootError;
use crate::cpuid::{CpuidError, TopologyError};
use crate::memory::MemoryError;
use crate::vcpu::{KickError, SpawnError};
use crate::vm::pci::PlugError;
use crate::vm::watchdog::NoWatchdog;
use crate::vm::{KvmError, StillError};

/// A VM could not be built. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The host's KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The topology.
    #[error("cpus: {0}")]
    Topology(#[from] TopologyError),
    /// CPUID.
    #[error(transparent)]
    Cpuid(#[from] CpuidError),
    /// RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel, its command line, the initramfs.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The ACPI tables.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// A device's place on a bus, or its interrupt.
    #[error("cannot attach {device}: {reason}")]
    Device {
        /// The device.
        device: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The host CPUs that a vCPU is to run on.
    #[error("cpus: affinity of vCPU {vcpu}: {reason}")]
    Affinity {
        /// The vCPU.
        vcpu: u32,
        /// What is wrong with them.
        reason: String,
    },
    /// A vCPU's slot has its thread already.
    #[error("vCPU {vcpu} has a thread already")]
    SlotTaken {
        /// The vCPU.
        vcpu: u32,
    },
    /// A virtio device.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// The watchdog.
    #[error(transparent)]
    Watchdog(#[from] NoWatchdog),
    /// The kick's signal handler.
    #[error(transparent)]
    Kick(#[from] KickError),
    /// A thread.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The hold that vCPU threads start under.
    #[error(transparent)]
    Hold(#[from] StillError),
}
