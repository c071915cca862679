//! Accesses to configuration space, from both ways in.

use super::slot::Slot;
use super::{PciSegment, count};
use crate::bus::Written;
use crate::pci::config::{CONFIG_LEN, ConfigSpace};

/// A place in the configuration space of the segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigAddress {
    /// `None`: on another bus, or of a function other than 0.
    pub(super) slot: Option<Slot>,
    /// The first byte.
    pub(super) offset: u16,
}

impl PciSegment {
    /// A read in the configuration space of a function.
    pub(super) fn read_config(&self, address: ConfigAddress, data: &mut [u8]) {
        data.fill(0xFF);
        let functions = self.functions.load();
        let Some(function) = address.slot.and_then(|slot| functions.visible(slot)) else {
            count(&self.absent_reads);
            return;
        };
        if !is_defined(address.offset, data.len()) {
            count(&self.undefined);
        } else if !function.read_config_window(address.offset, data) {
            function.config().read(address.offset, data);
        }
    }

    /// A write in the configuration space of a function.
    pub(super) fn write_config(&self, address: ConfigAddress, data: &[u8]) -> Written {
        let functions = self.functions.load();
        let Some(function) = address.slot.and_then(|slot| functions.visible(slot)) else {
            count(&self.absent_writes);
            return Written::Done;
        };
        if !is_defined(address.offset, data.len()) {
            count(&self.undefined);
            return Written::Done;
        }
        if address.offset >= CONFIG_LEN {
            return Written::Done;
        }
        let (config, offset) = (function.config(), address.offset);
        config.write(offset, data);
        let own = function.config_written(offset, data);
        if ConfigSpace::decides_decoding(offset, data.len()) {
            return Written::Wait(self.work.request());
        }
        match (function.msix(), config.msix_control()) {
            (Some(msix), Some(control)) if config.decides_msix(offset, data.len()) => {
                msix.control_written(control)
            }
            _ => own,
        }
    }
}

/// Whether an access lies within one register, as it has to (PCI Express 3.0, 7.2.2).
fn is_defined(offset: u16, len: usize) -> bool {
    usize::from(offset % 4) + len <= 4
}
