//! Saved state, snapshots and live migration, without KVM.
//!
//! ```text
//!   vmm ──▶ migration ──▶ vcpu-state
//! ```
//!
//! * [`format`]: the state of a VM as named, versioned units.
//!
//! Nothing here knows what a VM is made of: it comes in through traits, which a model implements as well as a
//! real VM does.
#![forbid(unsafe_code)]

pub mod format;
