//! Section D: devices, snapshots, migration.

mod barrier_arity;
mod clock_soft_lockup;
mod dead_worker_pause;
mod disk_lock_handback;
mod incomplete_mmio;
mod inflight_park;
mod late_fail_paused;
mod lost_queue_kick;
mod pause_io;
mod paused_migration;
mod post_snapshot_dirty;
#[cfg(feature = "vmm")]
mod reboot_in_migration;
mod reset_not_acked;
mod unparked_ctrl_queue;
mod worker_resume_pause;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    incomplete_mmio::MODEL,
    unparked_ctrl_queue::MODEL,
    barrier_arity::MODEL,
    worker_resume_pause::MODEL,
    dead_worker_pause::MODEL,
    inflight_park::MODEL,
    lost_queue_kick::MODEL,
    pause_io::MODEL,
    reset_not_acked::MODEL,
    post_snapshot_dirty::MODEL,
    paused_migration::MODEL,
    late_fail_paused::MODEL,
    #[cfg(feature = "vmm")]
    reboot_in_migration::MODEL,
    disk_lock_handback::MODEL,
    clock_soft_lockup::MODEL,
];
