//! The host bridge, 00:00.0: what a guest finds first. It has no registers of its own.

use std::sync::Arc;

use crate::bus::Written;
use crate::pci::config::{ConfigBuilder, ConfigSpace, Identity};
use crate::pci::function::{BarIndex, PciFunction};

/// The host bridge of the paravirtual machines of QEMU and others: guests know it, and know of no register
/// in it. Ids of real chipsets make guests look for what those have (Linux has quirks, and checks
/// MMCONFIG, by vendor).
const IDENTITY: Identity = Identity {
    vendor: 0x1B36,
    device: 0x0008,
    revision: 0,
    class: 0x06_0000,
    subsystem_vendor: 0,
    subsystem: 0,
};

pub(super) struct HostBridge {
    config: ConfigSpace,
}

impl HostBridge {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { config: ConfigBuilder::new(IDENTITY).build() })
    }
}

impl PciFunction for HostBridge {
    fn name(&self) -> &'static str {
        "pci-host-bridge"
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    // It has no BAR.
    fn read_bar(&self, _bar: BarIndex, _offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
    }

    fn write_bar(&self, _bar: BarIndex, _offset: u64, _data: &[u8]) -> Written {
        Written::Done
    }
}
