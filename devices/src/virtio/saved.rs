//! What device types have to save beside registers and queues.

use serde::{Deserialize, Serialize};

use crate::saved::Unfit;

/// A device type's own part. One that has none is [`Plain`](Self::Plain).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedDevice {
    /// Nothing.
    Plain,
    /// A disk.
    Block(SavedBlock),
    /// A network card.
    Net(SavedNet),
    /// A console.
    Console(SavedConsole),
    /// A socket device.
    Vsock(SavedVsock),
    /// A balloon.
    Balloon(SavedBalloon),
    /// A memory device.
    Mem(SavedMem),
    /// A device of an embedder's, as it likes.
    Own(Vec<u8>),
}

impl SavedDevice {
    /// It belongs to a device of another type.
    #[must_use]
    pub fn of_another(&self) -> Unfit {
        let name = match self {
            Self::Plain => "nothing",
            Self::Block(_) => "a disk's",
            Self::Net(_) => "a network card's",
            Self::Console(_) => "a console's",
            Self::Vsock(_) => "a socket device's",
            Self::Balloon(_) => "a balloon's",
            Self::Mem(_) => "a memory device's",
            Self::Own(_) => "an embedder's device's",
        };
        Unfit::Impossible { what: "the state of this device", saved: name.to_owned() }
    }
}

/// A disk, as its driver knows it. Its image is not saved: whoever restores has it as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBlock {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Bytes of a block.
    pub block_size: u32,
}

/// A network card. The link is the host's, and is up again where the host has a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedNet {
    /// The guest's address.
    pub mac: [u8; 6],
    /// The largest packet behind its Ethernet header, in bytes.
    pub mtu: u16,
    /// Queue pairs that the driver uses.
    pub active: u16,
}

/// A console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedConsole {
    /// Columns of the terminal; 0 if there was none.
    pub columns: u16,
    /// Rows of the terminal.
    pub rows: u16,
    /// Bytes for the guest that it had no buffers for.
    pub input: Vec<u8>,
}

/// A socket device. Its connections end: the guest is told by an event (virtio 1.2, 5.10.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVsock {
    /// The guest's context id.
    pub guest_cid: u32,
}

/// A balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBalloon {
    /// Pages of 4 KiB that the guest is to give back.
    pub target: u32,
    /// Pages that it has given back, as it says.
    pub actual: u32,
}

/// A memory device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMem {
    /// Where its region begins, as a GPA.
    pub gpa: u64,
    /// Bytes of its region.
    pub size: u64,
    /// Bytes that are to be plugged.
    pub requested: u64,
    /// Which blocks are plugged: a bit each, from the lowest of the first word on.
    pub plugged: Vec<u64>,
}
