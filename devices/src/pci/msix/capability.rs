//! The MSI-X capability: where table and pending bits are, and the message control register.

use super::{ENTRY_LEN, MAX_VECTORS};
use crate::pci::config::ConfigError;
use crate::pci::function::BarIndex;

/// Capability id.
const MSIX: u8 = 0x11;
/// Message control: MSI-X is enabled.
const ENABLE: u32 = 1 << 15;
/// Message control: all vectors are masked.
const FUNCTION_MASK: u32 = 1 << 14;

/// The message control register (PCI Local Bus 3.0, 6.8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixControl(u32);

impl MsixControl {
    pub(in crate::pci) const fn of_register(value: u32) -> Self {
        Self(value)
    }

    /// Whether MSI-X is enabled.
    pub const fn is_enabled(self) -> bool {
        self.0 & ENABLE != 0
    }

    /// Whether vectors interrupt that are not masked themselves: MSI-X is enabled, and the function is not masked.
    pub const fn lets_through(self) -> bool {
        self.0 & (ENABLE | FUNCTION_MASK) == ENABLE
    }
}

/// Where a function has its table and its pending bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixPlacement {
    /// How many vectors there are.
    pub vectors: u16,
    /// The table's BAR.
    pub table_bar: BarIndex,
    /// Bytes from its beginning.
    pub table_offset: u32,
    /// The pending bits' BAR.
    pub pending_bar: BarIndex,
    /// Bytes from its beginning.
    pub pending_offset: u32,
}

impl MsixPlacement {
    /// Bytes of the table.
    pub const fn table_len(self) -> u64 {
        ENTRY_LEN * self.vectors as u64
    }

    /// Bytes of the pending bits.
    pub const fn pending_len(self) -> u64 {
        self.vectors.div_ceil(64) as u64 * 8
    }

    /// The capability's bytes and write mask.
    pub(in crate::pci) fn capability(self) -> Result<([u8; 12], [u8; 12]), ConfigError> {
        let last = match self.vectors {
            1..=MAX_VECTORS => self.vectors - 1,
            _ => return Err(self.error()),
        };
        let place = |bar: BarIndex, offset: u32| {
            let valid = bar.0 < 6 && offset.is_multiple_of(8);
            valid.then(|| (offset | u32::from(bar.0)).to_le_bytes()).ok_or(self.error())
        };
        let mut bytes = [0; 12];
        bytes[0] = MSIX;
        bytes[2..4].copy_from_slice(&last.to_le_bytes());
        bytes[4..8].copy_from_slice(&place(self.table_bar, self.table_offset)?);
        bytes[8..12].copy_from_slice(&place(self.pending_bar, self.pending_offset)?);
        let mut writable = [0; 12];
        let control = (ENABLE | FUNCTION_MASK).to_le_bytes();
        writable[2..4].copy_from_slice(&control[..2]);
        Ok((bytes, writable))
    }

    fn error(self) -> ConfigError {
        ConfigError::Msix {
            vectors: self.vectors,
            table: self.table_offset,
            pending: self.pending_offset,
        }
    }
}
