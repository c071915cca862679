//! Atomics and published snapshots through the shim, so that a model checker sees the devices' as it sees the words'.
//!
//! Snapshots are `arc_swap`'s in production. Under a checker `published.rs` has the same shape, over an atomic that the
//! checker sees.

#[cfg(any(loom, shuttle))]
mod published;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use arc_swap::{ArcSwap, Guard};
#[cfg(any(loom, shuttle))]
pub(crate) use published::{ArcSwap, Guard};
pub(crate) use vcpu_state::sync::{atomic, read};
