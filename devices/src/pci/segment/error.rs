//! Why a function cannot come or go.

use super::slot::{Slot, SlotState};

/// Why a function cannot be inserted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Every slot has a function, or one that is not gone yet.
    #[error("all 31 PCI slots are taken")]
    Full,
    /// The slot that was asked for is not empty.
    #[error("PCI slot {} is not empty: {state:?}", slot.number())]
    Taken {
        /// The slot.
        slot: Slot,
        /// Its state.
        state: SlotState,
    },
    /// The windows have no room for a BAR.
    #[error("no room for BAR {bar} of {name}, {len:#x} bytes")]
    NoRoom {
        /// The function.
        name: String,
        /// The index of the BAR.
        bar: u8,
        /// Its size in bytes.
        len: u64,
    },
}

/// Why a function cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PCI slot {} has no function that can be removed: {state:?}", slot.number())]
pub struct NotRemovable {
    /// The slot.
    pub slot: Slot,
    /// Its state.
    pub state: SlotState,
}
