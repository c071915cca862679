//! How a configuration space is made: a type-0 header, BARs, and a chain of capabilities.

use std::array::from_fn;

use super::bar::{BarLayout, BarSpace};
use super::{
    BARS, COMMAND, COMMAND_BUS_MASTER, COMMAND_INTX_DISABLE, COMMAND_IO, COMMAND_MEMORY,
    CONFIG_LEN, ConfigSpace, FIRST_BAR,
};
use crate::pci::function::BarIndex;
use crate::pci::msix::MsixPlacement;
use crate::sync::atomic::AtomicU32;

/// Where the first capability goes: behind the header.
const FIRST_CAPABILITY: usize = 0x40;
/// Status register: there is a chain of capabilities.
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u8 = 1 << 4;
/// The pointer to the first capability.
const CAPABILITIES: usize = 0x34;
/// Two bytes that are the guest's own: cache line size and interrupt line.
const CACHE_LINE: usize = 0x0C;
const INTERRUPT_LINE: usize = 0x3C;
/// Both go into a pointer's byte of which the two lowest bits are reserved.
const ALIGNMENT: usize = 4;

/// What a function is (PCI Local Bus 3.0, 6.2.1 and 6.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id, the vendor's.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Base class, sub-class and programming interface, highest first in the lower 24 bits.
    pub class: u32,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
}

/// Why a configuration space cannot be made. All are mistakes of the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There are six BARs; a 64-bit one takes two.
    #[error("there is no place for a BAR at index {0}")]
    NoSuchBar(u8),
    /// Another BAR has that register.
    #[error("BAR {0} is there already")]
    BarTaken(u8),
    /// A size that a BAR cannot have.
    #[error("a BAR of {len:#x} bytes: not a power of two from {smallest:#x} to {largest:#x}")]
    BarLen {
        /// The size.
        len: u64,
        /// The smallest that could be.
        smallest: u64,
        /// The largest that could be.
        largest: u64,
    },
    /// A capability has an id and a pointer, and a mask of its own length.
    #[error("a capability of {len} bytes with a mask of {mask}")]
    CapabilityShape {
        /// Bytes of the capability.
        len: usize,
        /// Bytes of its mask.
        mask: usize,
    },
    /// The 256 bytes are full.
    #[error("a capability of {len} bytes does not fit behind offset {at:#x}")]
    NoRoom {
        /// Bytes of the capability.
        len: usize,
        /// Where it would begin.
        at: usize,
    },
    /// An MSI-X table has 1 to 2048 vectors; it and the pending bits lie in a BAR at a multiple of 8.
    #[error("MSI-X with {vectors} vectors, table at {table:#x}, pending bits at {pending:#x}")]
    Msix {
        /// Vectors.
        vectors: u16,
        /// Offset of the table.
        table: u32,
        /// Offset of the pending bits.
        pending: u32,
    },
}

/// A configuration space in the making.
pub struct ConfigBuilder {
    bytes: [u8; CONFIG_LEN as usize],
    writable: [u8; CONFIG_LEN as usize],
    bars: [Option<BarLayout>; BARS as usize],
    /// Where the next capability goes.
    end: usize,
    /// The byte that is to point at it.
    pointer: usize,
    msix: Option<u8>,
}

impl ConfigBuilder {
    /// A type-0 function without BARs and capabilities, which answers nowhere until the guest lets it.
    pub fn new(identity: Identity) -> Self {
        let mut new = Self {
            bytes: [0; CONFIG_LEN as usize],
            writable: [0; CONFIG_LEN as usize],
            bars: [None; BARS as usize],
            end: FIRST_CAPABILITY,
            pointer: CAPABILITIES,
            msix: None,
        };
        new.put(0x00, &identity.vendor.to_le_bytes());
        new.put(0x02, &identity.device.to_le_bytes());
        let [interface, sub_class, class, _] = identity.class.to_le_bytes();
        new.put(0x08, &[identity.revision, interface, sub_class, class]);
        new.put(0x2C, &identity.subsystem_vendor.to_le_bytes());
        new.put(0x2E, &identity.subsystem.to_le_bytes());
        let command = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTX_DISABLE;
        new.allow(COMMAND.into(), &command.to_le_bytes()[..2]);
        new.allow(CACHE_LINE, &[0xFF]);
        new.allow(INTERRUPT_LINE, &[0xFF]);
        new
    }

    /// Adds a BAR of `len` bytes, without an address.
    ///
    /// # Errors
    /// It has no place, or a size that cannot be.
    pub fn add_bar(
        &mut self,
        index: BarIndex,
        space: BarSpace,
        len: u64,
    ) -> Result<&mut Self, ConfigError> {
        let (smallest, largest) = space.sizes();
        if !len.is_power_of_two() || len < smallest || len > largest {
            return Err(ConfigError::BarLen { len, smallest, largest });
        }
        let registers = if space == BarSpace::Memory64 { 2 } else { 1 };
        if index.0 >= BARS || index.0 + registers > BARS {
            return Err(ConfigError::NoSuchBar(index.0));
        }
        let offset = usize::from(FIRST_BAR) + 4 * usize::from(index.0);
        let bytes = 4 * usize::from(registers);
        // A register is taken when it has bits: an attribute or an address.
        let taken = |at: usize| self.writable[at] != 0 || self.bytes[at] != 0;
        if (offset..offset + bytes).any(taken) {
            return Err(ConfigError::BarTaken(index.0));
        }
        let layout = BarLayout { space, len };
        self.put(offset, &space.attributes().to_le_bytes());
        self.allow(offset, &layout.writable().to_le_bytes()[..bytes]);
        self.bars[usize::from(index.0)] = Some(layout);
        Ok(self)
    }

    /// Appends a capability to the chain and returns its offset. `bytes` begin with its id; the second byte is the
    /// pointer to the next one, and is filled in here. Bits that the guest can write are set in `writable`.
    ///
    /// # Errors
    /// There is no room, or lengths do not agree.
    pub fn add_capability(&mut self, bytes: &[u8], writable: &[u8]) -> Result<u8, ConfigError> {
        let (len, at) = (bytes.len(), self.end);
        if len < 2 || writable.len() != len {
            return Err(ConfigError::CapabilityShape { len, mask: writable.len() });
        }
        let offset = u8::try_from(at).map_err(|_| ConfigError::NoRoom { len, at })?;
        if at + len > self.bytes.len() {
            return Err(ConfigError::NoRoom { len, at });
        }
        self.put(at, bytes);
        self.put(at + 1, &[0]);
        self.allow(at + 2, &writable[2..]);
        self.put(self.pointer, &[offset]);
        self.put(STATUS, &[STATUS_CAPABILITIES]);
        self.pointer = at + 1;
        self.end = (at + len).next_multiple_of(ALIGNMENT);
        Ok(offset)
    }

    /// Appends the MSI-X capability (PCI Local Bus 3.0, 6.8.2) and returns its offset.
    ///
    /// # Errors
    /// The table cannot be as it says, or there is no room.
    pub fn add_msix(&mut self, placement: MsixPlacement) -> Result<u8, ConfigError> {
        let (bytes, writable) = placement.capability()?;
        let offset = self.add_capability(&bytes, &writable)?;
        self.msix = Some(offset);
        Ok(offset)
    }

    /// The space.
    pub fn build(&self) -> ConfigSpace {
        let word = |bytes: &[u8], index: usize| {
            let at = 4 * index;
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        ConfigSpace {
            words: from_fn(|index| AtomicU32::new(word(&self.bytes, index))),
            writable: from_fn(|index| word(&self.writable, index)),
            bars: self.bars,
            msix: self.msix,
        }
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn allow(&mut self, offset: usize, bits: &[u8]) {
        self.writable[offset..offset + bits.len()].copy_from_slice(bits);
    }
}
