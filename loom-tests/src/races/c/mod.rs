//! Section C: kill, shutdown, hotplug.

mod dead_worker_unplug;
mod hotplug_stale_thread;
mod hotplug_visible_early;
mod pause_vs_drop;
mod pending_removal;
mod shutdown_while_paused;
mod start_barrier_early_return;
mod unplug_readd;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    shutdown_while_paused::MODEL,
    pause_vs_drop::MODEL,
    hotplug_stale_thread::MODEL,
    pending_removal::MODEL,
    hotplug_visible_early::MODEL,
    unplug_readd::MODEL,
    dead_worker_unplug::MODEL,
    start_barrier_early_return::MODEL,
];
