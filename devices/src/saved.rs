//! Saved state that does not fit the device that it is given to.
//!
//! Every device that a guest can tell apart after a restore has a plain type of its own (`Saved…`), whose fields are what the guest can
//! tell, and `save`, `check` and `restore`. All three are called while the VM stands still, its vCPUs and workers; a restore is into a
//! device that was just made, and that no driver has touched. `check` changes nothing, `restore` checks first: what was damaged, or belongs
//! to another machine, is an error and never a device that is half another's.

use std::fmt::{Debug, LowerHex};

use crate::virtio::QueueFault;

/// Why saved state cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The saved device was another one.
    #[error("{what} is {here} here, and was {saved} when the state was saved")]
    Different {
        /// What differs.
        what: &'static str,
        /// What it was.
        saved: String,
        /// What it is here.
        here: String,
    },
    /// No device can have been in that state.
    #[error("{what} cannot be {saved}")]
    Impossible {
        /// What is wrong.
        what: &'static str,
        /// What it is said to have been.
        saved: String,
    },
    /// The driver uses something that is not offered here.
    #[error("the driver uses feature bits {0:#x}, which are not offered here")]
    Features(u64),
    /// A queue.
    #[error("queue {queue}: {fault}")]
    Queue {
        /// Its index.
        queue: u16,
        /// What is wrong with it.
        fault: QueueFault,
    },
    /// A register of configuration space that no guest can change is another one.
    #[error(
        "configuration space differs at offset {offset:#x}: {here:#010x} here, {saved:#010x} in the saved state"
    )]
    Config {
        /// Its offset.
        offset: usize,
        /// What it was.
        saved: u32,
        /// What it is here.
        here: u32,
    },
    /// A BAR answers where no window of the bus is.
    #[error(
        "{name}: BAR {bar} answers at {at:#x}, {len:#x} bytes, which is in no window of this machine's bus"
    )]
    Window {
        /// The function.
        name: String,
        /// The BAR.
        bar: u8,
        /// Its address.
        at: u64,
        /// Its size.
        len: u64,
    },
    /// A slot cannot have the function that is to be in it.
    #[error("PCI slot {slot} cannot have {name}: {reason}")]
    Slot {
        /// The number of the slot.
        slot: u8,
        /// The function.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A driver has touched the device: it is none that was just made.
    #[error("the device is in use")]
    InUse,
}

impl Unfit {
    /// The saved thing is to be as the one here.
    ///
    /// # Errors
    /// It is not.
    pub fn unless_same<T: PartialEq + Debug>(
        what: &'static str,
        saved: &T,
        here: &T,
    ) -> Result<(), Self> {
        if saved == here {
            return Ok(());
        }
        Err(Self::Different { what, saved: format!("{saved:?}"), here: format!("{here:?}") })
    }

    /// A value that is none.
    pub fn impossible(what: &'static str, saved: impl Debug) -> Self {
        Self::Impossible { what, saved: format!("{saved:?}") }
    }

    /// No bits are to be set but these.
    ///
    /// # Errors
    /// Others are.
    pub fn unless_within<T>(what: &'static str, saved: T, possible: T) -> Result<(), Self>
    where
        T: Copy + PartialEq + LowerHex + std::ops::BitAnd<Output = T>,
    {
        if saved & possible == saved {
            return Ok(());
        }
        Err(Self::Impossible { what, saved: format!("{saved:#x}") })
    }
}
