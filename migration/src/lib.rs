//! Saved state, snapshots and live migration, without KVM.
//!
//! ```text
//!   vmm ──▶ migration ──▶ vcpu-state
//! ```
//!
//! * [`mod@format`]: the state of a VM as named, versioned units.
//! * [`memory`]: guest memory as pages, counted through.
//! * [`snapshot`]: a VM in a directory.
//! * [`wire`]: what goes over the connections of a migration.
//! * [`tls`]: the same, encrypted, between ends that know each other.
//! * [`engine`]: live migration.
//!
//! Nothing here knows what a VM is made of: it comes in through traits, which a model implements as well as a
//! real VM does.
#![forbid(unsafe_code)]

mod crew;
pub mod engine;
pub mod format;
pub mod memory;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod wire;
