//! Section C: kill, shutdown, hotplug.

mod dead_worker_unplug;
mod hotplug_stale_thread;
mod hotplug_visible_early;
mod pause_vs_drop;
mod pending_removal;
#[cfg(feature = "vmm")]
mod shutdown_while_paused;
#[cfg(feature = "vmm")]
mod start_barrier_early_return;
mod unplug_readd;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    #[cfg(feature = "vmm")]
    shutdown_while_paused::MODEL,
    pause_vs_drop::MODEL,
    hotplug_stale_thread::MODEL,
    pending_removal::MODEL,
    hotplug_visible_early::MODEL,
    unplug_readd::MODEL,
    dead_worker_unplug::MODEL,
    #[cfg(feature = "vmm")]
    start_barrier_early_return::MODEL,
];
