//! PCI on KVM: the bus, the cards in it, and what the `devices` crate asks of the hypervisor for them.

mod card;
mod cards;
mod platform;
mod root;
mod routes;

pub(super) use card::{Card, State as CardState};
pub(super) use cards::Cards;
pub use cards::{PlugError, UnplugError};
pub use platform::KvmPlatform;
pub(super) use root::PciRoot;
