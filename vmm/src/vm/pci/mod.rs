//! PCI on KVM: the bus, the cards in it, and what the `devices` crate asks of the hypervisor for them.

mod cards;
mod platform;
mod root;
mod routes;

pub(super) use cards::{Card, Cards, State as CardState};
pub use cards::{PlugError, UnplugError};
pub use platform::KvmPlatform;
pub(super) use root::PciRoot;
