//! A function's vectors as they are saved.
//!
//! Whether a vector is open is not among it: that follows from the registers, and the attendant sees to it in its next round, with the
//! routes. What has been raised until then is pending, and delivered by that round.

use serde::{Deserialize, Serialize};

use super::Msix;
use crate::saved::Unfit;

/// An entry of the table, and its pending bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVector {
    /// The message's address.
    pub address: u64,
    /// The message's data.
    pub data: u32,
    /// The mask bit.
    pub masked: bool,
    /// The pending bit.
    pub pending: bool,
}

/// The table and the pending bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMsix {
    /// The vectors, in their order.
    pub vectors: Vec<SavedVector>,
}

impl Msix {
    /// What they are, while nobody touches them.
    #[must_use]
    pub fn save(&self) -> SavedMsix {
        SavedMsix { vectors: self.entries.iter().map(super::Entry::save).collect() }
    }

    /// Whether they could be these.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedMsix) -> Result<(), Unfit> {
        Unfit::unless_same("the number of vectors", &saved.vectors.len(), &self.entries.len())?;
        match saved.vectors.iter().find(|vector| vector.address % 4 != 0) {
            Some(vector) => Err(Unfit::impossible("a vector's address", vector.address)),
            None => Ok(()),
        }
    }

    /// Makes them these, which were checked. The attendant has to be asked for a round afterwards.
    pub fn restore(&self, saved: &SavedMsix) {
        for (entry, saved) in self.entries.iter().zip(&saved.vectors) {
            entry.restore(saved);
        }
    }
}
