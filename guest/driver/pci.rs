//! PCI as the driver sees it: functions of bus 0 through the memory-mapped configuration space.

use crate::io::{Address, Line};
use crate::shared::{ECAM, OUTCOME_NO_DEVICE, PCI_HOTPLUG, PCI_START};

/// 8 functions of 4 KiB each.
const SLOT_SHIFT: u64 = 15;
/// Where BARs are put that are out of reach: 64 KiB for each slot.
const FIRST_PLACE: u64 = 0xE000_0000;
const PLACE: u64 = 0x1_0000;
const VENDOR_VIRTIO: u32 = 0x1AF4;
const COMMAND: u64 = 4;
const BAR0: u64 = 0x10;
/// Slots whose functions the host wants back.
const DOWN: Address = Address(PCI_HOTPLUG + 4);
const EJECT: Address = Address(PCI_HOTPLUG + 8);
const CAPABILITIES: u64 = 0x34;
const CAP_VENDOR: u8 = 9;
/// Memory space and bus mastering.
const ENABLE: u16 = 6;
const MEMORY_SPACE: u16 = 2;

/// A function's configuration space.
#[derive(Clone, Copy)]
pub struct Function {
    pub config: Address,
}

impl Function {
    /// The virtio function in this slot.
    pub fn virtio(slot: u64) -> Result<Self, u64> {
        let function = Self { config: Address(ECAM + (slot << SLOT_SHIFT)) };
        let id = function.config.read32();
        if id & 0xFFFF == VENDOR_VIRTIO { Ok(function) } else { Err(OUTCOME_NO_DEVICE) }
    }

    pub fn device_id(self) -> u16 {
        self.config.at(2).read16()
    }

    /// Lets it answer, where the driver's page tables reach: its own place below 4 GiB, unless it is there already.
    pub fn enable(self) {
        if !(PCI_START..ECAM).contains(&self.bar()) {
            let slot = (self.config.0 - ECAM) >> SLOT_SHIFT;
            self.move_bar(FIRST_PLACE + PLACE * slot);
        }
        self.config.at(COMMAND).write16(ENABLE);
    }

    /// Where BAR 0 is: a 64-bit memory BAR.
    pub fn bar(self) -> u64 {
        let low = u64::from(self.config.at(BAR0).read32() & !0xF);
        low | u64::from(self.config.at(BAR0 + 4).read32()) << 32
    }

    /// Moves BAR 0, with memory space switched off meanwhile, as systems do.
    pub fn move_bar(self, to: u64) {
        let command = self.config.at(COMMAND).read16();
        self.config.at(COMMAND).write16(command & !MEMORY_SPACE);
        self.config.at(BAR0).write32(to as u32);
        self.config.at(BAR0 + 4).write32((to >> 32) as u32);
        self.config.at(COMMAND).write16(command | MEMORY_SPACE);
    }

    /// The virtio capability of this type (virtio 1.2, 4.1.4): its offset in the configuration space.
    pub fn capability(self, kind: u8) -> Result<u64, u64> {
        let mut at = u64::from(self.config.at(CAPABILITIES).read8());
        for _ in 0..48 {
            if at == 0 {
                break;
            }
            let capability = self.config.at(at);
            if capability.read8() == CAP_VENDOR && capability.at(3).read8() == kind {
                return Ok(at);
            }
            at = u64::from(capability.at(1).read8());
        }
        Err(OUTCOME_NO_DEVICE)
    }
}

pub fn probe(line: &Line) -> Result<(), u64> {
    let mut found = 0;
    for slot in 0..32 {
        if let Ok(function) = Function::virtio(slot) {
            found += 1;
            if found < 15 {
                line.result(1 + found, slot << 16 | u64::from(function.device_id()));
            }
        }
    }
    line.result(1, found);
    Ok(())
}

/// Lets go of the functions in these slots, a bit each.
pub fn eject(slots: u32) {
    EJECT.write32(slots);
}

/// Lets go of whatever functions the host has asked for since the last call; their slots, a bit each.
pub fn let_go() -> u32 {
    let slots = DOWN.read32();
    if slots != 0 {
        eject(slots);
    }
    slots
}
