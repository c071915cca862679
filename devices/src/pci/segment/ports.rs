//! Configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2): an address port and a data port.
//!
//! | port | width | |
//! |---|---|---|
//! | 0xCF8 | 32 bits | CONFIG_ADDRESS: bit 31 enables; bus 16–23, device 11–15, function 8–10, register 2–7 |
//! | 0xCFC–0xCFF | 8 to 32 bits | CONFIG_DATA: the bytes of that register |
//!
//! Accesses of other widths to the address port are none of its business (ports 0xCF9 to 0xCFB can belong to
//! other devices): they read as all ones and change nothing. While bit 31 is clear, so do those to the data port.

use std::sync::Arc;

use super::{ConfigAddress, PciSegment, Slot};
use crate::bus::{AddressRange, BusDevice, Pio, Written};
use crate::sync::atomic::{AtomicU32, Ordering};

const ENABLE: u32 = 1 << 31;
/// The other bits are reserved, and zeros.
const ADDRESS_BITS: u32 = ENABLE | 0x00FF_FFFC;
/// Offset of the data port.
const DATA: u64 = 4;

/// The two ports.
pub struct ConfigPorts {
    address: AtomicU32,
    segment: Arc<PciSegment>,
}

impl ConfigPorts {
    /// Where they are.
    pub const PORTS: AddressRange<Pio> = AddressRange::constant(0xCF8, 8);

    /// The ports onto a segment.
    pub fn new(segment: Arc<PciSegment>) -> Self {
        Self { address: AtomicU32::new(0), segment }
    }

    /// CONFIG_ADDRESS, which is all that is to be saved.
    #[must_use]
    pub fn address(&self) -> u32 {
        self.address.load(Ordering::Relaxed)
    }

    /// Makes CONFIG_ADDRESS this; bits that it has not are lost, as for a write.
    pub fn restore(&self, address: u32) {
        self.address.store(address & ADDRESS_BITS, Ordering::Relaxed);
    }

    /// What an access to the data port reaches, if it does.
    fn target(&self, offset: u64) -> Option<ConfigAddress> {
        let byte = u8::try_from(offset.checked_sub(DATA)?).ok()?;
        // Relaxed: vCPUs that share the port take turns by locks of the guest's own.
        let address = self.address.load(Ordering::Relaxed);
        let [register, function, bus, _] = address.to_le_bytes();
        let (device, function) = (function >> 3, function % 8);
        let slot = Slot::new(device).filter(|_| bus == 0 && function == 0);
        let offset = u16::from(register) + u16::from(byte);
        (address & ENABLE != 0).then_some(ConfigAddress { slot, offset })
    }
}

impl BusDevice for ConfigPorts {
    fn name(&self) -> &'static str {
        "pci-config-ports"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        if offset == 0 && data.len() == 4 {
            data.copy_from_slice(&self.address.load(Ordering::Relaxed).to_le_bytes());
        } else if let Some(target) = self.target(offset) {
            self.segment.read_config(target, data);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        if let (0, &[a, b, c, d]) = (offset, data) {
            let address = u32::from_le_bytes([a, b, c, d]) & ADDRESS_BITS;
            self.address.store(address, Ordering::Relaxed);
            return Written::Done;
        }
        self.target(offset).map_or(Written::Done, |target| self.segment.write_config(target, data))
    }
}
