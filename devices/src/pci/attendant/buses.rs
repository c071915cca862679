//! The two buses that BARs answer on, by the BAR's space.

use std::sync::Arc;

use crate::bus::{AddressRange, AddressSpace, Bus, BusDevice, Mmio, Pio};
use crate::pci::config::BarSpace;

/// Another device answers there, or no address space reaches so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// The buses.
pub(super) struct Buses {
    pub(super) mmio: Arc<Bus<Mmio>>,
    pub(super) pio: Arc<Bus<Pio>>,
}

impl Buses {
    pub(super) fn publish(
        &self,
        space: BarSpace,
        at: u64,
        len: u64,
        device: Arc<dyn BusDevice>,
    ) -> Result<(), Refused> {
        match space {
            BarSpace::Io => self.pio.publish(range(at, len)?, device),
            BarSpace::Memory32 | BarSpace::Memory64 => self.mmio.publish(range(at, len)?, device),
        }
        .map_err(|_| Refused)
    }

    pub(super) fn relocate(
        &self,
        space: BarSpace,
        from: u64,
        to: u64,
        len: u64,
    ) -> Result<(), Refused> {
        match space {
            BarSpace::Io => self.pio.relocate(range(from, len)?, range(to, len)?),
            BarSpace::Memory32 | BarSpace::Memory64 => {
                self.mmio.relocate(range(from, len)?, range(to, len)?)
            }
        }
        .map_err(|_| Refused)
    }

    /// Takes what was published at `at` away.
    pub(super) fn retire(&self, space: BarSpace, at: u64, len: u64) {
        fn from<S: AddressSpace>(bus: &Bus<S>, at: u64, len: u64) {
            // It was published there, by this thread; nobody else retires it.
            if let Ok(range) = range(at, len) {
                let _ = bus.retire(range);
            }
        }
        match space {
            BarSpace::Io => from(&self.pio, at, len),
            BarSpace::Memory32 | BarSpace::Memory64 => from(&self.mmio, at, len),
        }
    }
}

fn range<S: AddressSpace>(at: u64, len: u64) -> Result<AddressRange<S>, Refused> {
    AddressRange::new(at, len).map_err(|_| Refused)
}
