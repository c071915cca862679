//! Virtio over PCI (virtio 1.2, 4.1), modern only.
//!
//! ```text
//!                     ┌────────── VirtioPci ──────────┐
//!   vCPU ──BAR 0─────▶│ 0x0000 common configuration   │──▶ Registers ──▶ activator
//!                     │ 0x1000 ISR status             │
//!   vCPU ──config────▶│ 0x2000 device configuration   │──▶ VirtioDevice
//!     │    space      │ 0x3000 notifications          │──▶ doorbells
//!     └──PCI_CFG─────▶│ 0x4000 MSI-X table, 0x6000 PBA│──▶ Msix
//!        window       └───────────────────────────────┘
//! ```
//!
//! Invariants:
//! - Every register is an atomic; no access blocks, whatever its size and place.
//! - An access through the PCI_CFG window is the access to the BAR that it names: the same code, and
//!   the same tickets.
//! - What the driver may set only before DRIVER_OK cannot be set after it.

mod capabilities;
mod common;
mod generation;
mod interrupts;
mod layout;
mod saved;
#[cfg(test)]
mod tests;
mod window;

use std::io;
use std::sync::Arc;

use vcpu_state::{Ticket, WorkItem};

use super::activator::Activator;
use super::device::VirtioDevice;
use super::registers::{RegisterParts, Registers};
use crate::bus::Written;
use crate::counters::CounterSource;
use crate::memory::GuestMemory;
use crate::pci::{BarDoorbell, BarIndex, ConfigError, ConfigSpace, Msix, PciFunction, PciPlatform};
use common::Selectors;
use interrupts::Interrupts;
use layout::{BAR, NOTIFY_MULTIPLIER, Region};
pub use saved::SavedVirtioPci;
use window::Window;

/// A virtio device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VirtioPciError {
    /// The device has more queues than there are notification registers and vectors for.
    #[error("{0} queues are more than the transport has room for")]
    TooManyQueues(usize),
    /// Its configuration space cannot be made.
    #[error("its configuration space: {0}")]
    Config(#[from] ConfigError),
    /// The host has no descriptors or interrupts left.
    #[error("the host refuses an interrupt or an eventfd: {0}")]
    Host(#[from] io::Error),
}

/// A virtio device as a PCI function.
pub struct VirtioPci {
    registers: Arc<Registers>,
    selectors: Selectors,
    interrupts: Arc<Interrupts>,
    config: ConfigSpace,
    window: Window,
}

impl VirtioPci {
    /// A function that no bus has yet, which `activator` serves. Interrupts come from `platform`, and are routed by the
    /// attendant of `pci_work`.
    ///
    /// # Errors
    /// It has too many queues, or the host has too little.
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        memory: GuestMemory,
        activator: &Activator,
        platform: &dyn PciPlatform,
        pci_work: &Arc<WorkItem>,
    ) -> Result<Self, VirtioPciError> {
        let count = device.queue_sizes().len();
        let too_many = VirtioPciError::TooManyQueues(count);
        let queues = u16::try_from(count).ok().filter(|queues| *queues < layout::MAX_VECTORS);
        // One for each queue, and one for the configuration.
        let vectors = queues.ok_or(too_many)? + 1;
        let (config, window) = capabilities::config_space(device.device_type(), vectors)?;
        let interrupts = Arc::new(Interrupts::new(Msix::new(platform, vectors, pci_work)?, count));
        let interrupt = Arc::clone(&interrupts) as _;
        let registers = Registers::new(RegisterParts { device, memory, interrupt }, activator)?;
        Ok(Self { registers, selectors: Selectors::default(), interrupts, config, window })
    }

    /// The registers behind the transport: the device's word, its queues and its counters.
    #[must_use]
    pub fn registers(&self) -> &Arc<Registers> {
        &self.registers
    }

    /// Takes the device away from its driver for good, as [`Registers::remove`] does.
    #[must_use = "the workers are gone when the ticket is done"]
    pub fn remove(&self) -> Ticket {
        self.registers.remove()
    }

    fn notify(&self, offset: u64) {
        let queue = usize::try_from(offset / u64::from(NOTIFY_MULTIPLIER)).ok();
        if let Some(queue) = queue.and_then(|queue| self.registers.queues().get(queue)) {
            self.registers.counts().notifications.one();
            queue.doorbell().notify();
        }
    }
}

impl PciFunction for VirtioPci {
    fn name(&self) -> &str {
        self.registers.device().name()
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn msix(&self) -> Option<&Msix> {
        Some(self.interrupts.msix())
    }

    fn read_config_window(&self, offset: u16, data: &mut [u8]) -> bool {
        self.window.read(&self.config, offset, data, |bar, offset, data| {
            self.read_bar(bar, offset, data);
        })
    }

    fn config_written(&self, offset: u16, data: &[u8]) -> Written {
        self.window.written(&self.config, offset, data.len(), |bar, offset, data| {
            self.write_bar(bar, offset, data)
        })
    }

    fn read_bar(&self, bar: BarIndex, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let region = Region::of(offset, data.len()).filter(|_| bar == BAR);
        match region {
            Some((Region::Common, at)) => self.read_common(at, data),
            Some((Region::Isr, 0)) => {
                if let Some(first) = data.first_mut() {
                    *first = self.interrupts.take_isr();
                }
            }
            Some((Region::Device, at)) => self.registers.device().read_config(at, data),
            Some((Region::MsixTable, at)) => self.interrupts.msix().read_table(at, data),
            Some((Region::MsixPending, at)) => self.interrupts.msix().read_pending(at, data),
            Some((Region::Isr | Region::Notify, _)) | None => {}
        }
    }

    fn write_bar(&self, bar: BarIndex, offset: u64, data: &[u8]) -> Written {
        let region = Region::of(offset, data.len()).filter(|_| bar == BAR);
        match region {
            Some((Region::Common, at)) => return self.write_common(at, data),
            Some((Region::Device, at)) => self.registers.device().write_config(at, data),
            Some((Region::Notify, at)) => self.notify(at),
            Some((Region::MsixTable, at)) => return self.interrupts.msix().write_table(at, data),
            Some((Region::Isr | Region::MsixPending, _)) | None => {}
        }
        Written::Done
    }

    fn doorbells(&self) -> Vec<BarDoorbell> {
        let offsets = (u64::from(layout::NOTIFY)..).step_by(NOTIFY_MULTIPLIER as usize);
        offsets
            .zip(self.registers.queues())
            .map(|(offset, queue)| BarDoorbell {
                bar: BAR,
                offset,
                event: Arc::clone(queue.doorbell()),
            })
            .collect()
    }
}

impl CounterSource for VirtioPci {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.registers.counts().counters();
        counters.extend(self.interrupts.msix().counters());
        counters
    }
}
