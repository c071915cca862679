//! A device's registers, through its BAR or through the window in its configuration space (virtio 1.2, 4.1.4.9).

use crate::io::Address;
use crate::pci::Function;

const PCI_CFG: u8 = 5;

/// Which way the accesses take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Bar,
    Window,
}

/// The registers in BAR 0.
pub struct Registers {
    bar: Address,
    window: Address,
    pub way: Way,
}

macro_rules! register {
    ($read:ident, $write:ident, $int:ty, $bytes:literal) => {
        pub fn $read(&self, offset: u64) -> $int {
            match self.way {
                Way::Bar => self.bar.at(offset).$read(),
                Way::Window => self.open_window(offset, $bytes).$read(),
            }
        }

        pub fn $write(&self, offset: u64, value: $int) {
            match self.way {
                Way::Bar => self.bar.at(offset).$write(value),
                Way::Window => self.open_window(offset, $bytes).$write(value),
            }
        }
    };
}

impl Registers {
    pub fn of(function: Function, way: Way) -> Result<Self, u64> {
        let window = function.config.at(function.capability(PCI_CFG)?);
        Ok(Self { bar: Address(function.bar()), window, way })
    }

    register!(read8, write8, u8, 1);
    register!(read16, write16, u16, 2);
    register!(read32, write32, u32, 4);

    /// Where the register is in memory.
    pub fn address(&self, offset: u64) -> Address {
        self.bar.at(offset)
    }

    /// Points the window at a register; gives the window.
    fn open_window(&self, offset: u64, bytes: u32) -> Address {
        self.window.at(4).write8(0);
        self.window.at(8).write32(offset as u32);
        self.window.at(12).write32(bytes);
        self.window.at(16)
    }
}
