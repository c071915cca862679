//! Why an address map could not be changed.
use std::fmt;

use super::range::{AddressRange, AddressSpace};

/// A range and the name of the device that has it or wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    first: u64,
    last: u64,
    name: String,
}

impl Claimant {
    pub(super) fn new<S: AddressSpace>(range: AddressRange<S>, name: &str) -> Self {
        Self { first: range.first(), last: range.last(), name: name.to_owned() }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x} ({})", self.first, self.last, self.name)
    }
}

/// Why an address map could not be changed; it is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Another device answers at one of the addresses.
    #[error("{space} {wanted} overlap {existing}, which is claimed already")]
    Overlap {
        /// The address space.
        space: &'static str,
        /// What should have been added.
        wanted: Claimant,
        /// What is there.
        existing: Claimant,
    },
    /// No device has claimed exactly this range.
    #[error("no device has claimed the {space} {first:#x}-{last:#x}")]
    NotClaimed {
        /// The address space.
        space: &'static str,
        /// The lowest address.
        first: u64,
        /// The highest address.
        last: u64,
    },
}
