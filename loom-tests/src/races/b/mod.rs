//! Section B: a vCPU waits for the control plane while the control plane waits for the vCPU.

mod activate_fail;
mod activate_vs_migration;
mod activate_vs_pause;
mod bar_move_abba;
mod double_activation;
mod ecam_activation;
mod eject_pause_join;
mod mmio_cpumgr;
mod mmio_devmgr;
mod mmio_vcpustates;
#[cfg(feature = "vmm")]
mod reset_spin_vs_pause;
mod self_eject;
mod serial_block;
mod shutdown_vs_activation;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    mmio_cpumgr::MODEL,
    mmio_vcpustates::MODEL,
    mmio_devmgr::MODEL,
    activate_vs_pause::MODEL,
    activate_vs_migration::MODEL,
    activate_fail::MODEL,
    double_activation::MODEL,
    ecam_activation::MODEL,
    shutdown_vs_activation::MODEL,
    #[cfg(feature = "vmm")]
    reset_spin_vs_pause::MODEL,
    eject_pause_join::MODEL,
    self_eject::MODEL,
    serial_block::MODEL,
    bar_move_abba::MODEL,
];
