//! The enhanced configuration access mechanism (PCI Express 3.0, 7.2.2): configuration space as memory.
//!
//! | address bits | |
//! |---|---|
//! | 0–11 | offset; 256 and above read as zeros |
//! | 12–14 | function |
//! | 15–19 | device |
//! | 20–27 | bus, of which there is one |

use std::sync::Arc;

use super::{ConfigAddress, PciSegment, Slot};
use crate::bus::{BusDevice, Written};

/// The window, for an MMIO bus.
pub struct Ecam {
    segment: Arc<PciSegment>,
}

impl Ecam {
    /// Bytes of the window: one bus.
    pub const LEN: u64 = 1 << 20;

    /// The window onto a segment.
    pub fn new(segment: Arc<PciSegment>) -> Self {
        Self { segment }
    }
}

impl BusDevice for Ecam {
    fn name(&self) -> &'static str {
        "pci-ecam"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.segment.read_config(address(offset), data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        self.segment.write_config(address(offset), data)
    }
}

fn address(offset: u64) -> ConfigAddress {
    let [low, middle, high, ..] = offset.to_le_bytes();
    let function = middle >> 4 & 7;
    let device = (high & 0xF) << 1 | middle >> 7;
    ConfigAddress {
        slot: Slot::new(device).filter(|_| function == 0),
        offset: u16::from_le_bytes([low, middle & 0xF]),
    }
}
