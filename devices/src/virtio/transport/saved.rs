//! A virtio device on PCI as it is saved: all that its driver can read, by whichever way.

use serde::{Deserialize, Serialize};

use super::VirtioPci;
use crate::pci::{SavedConfig, SavedMsix};
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;
use crate::virtio::registers::SavedRegisters;
use crate::virtio::saved::SavedDevice;

/// Function, transport, registers and device. (Where it is on the bus is the bus's.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVirtioPci {
    /// Configuration space, with BARs, MSI-X control and the PCI_CFG window.
    pub config: SavedConfig,
    /// The MSI-X table and pending bits.
    pub msix: SavedMsix,
    /// `device_feature_select`.
    pub device_feature_select: u32,
    /// `driver_feature_select`.
    pub driver_feature_select: u32,
    /// `queue_select`.
    pub queue_select: u16,
    /// ISR status, vectors and the configuration's generation.
    pub interrupts: SavedInterrupts,
    /// Status, features and queues.
    pub registers: SavedRegisters,
    /// What the device type has.
    pub device: SavedDevice,
}

/// How the device interrupts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedInterrupts {
    /// The ISR register.
    pub isr: u8,
    /// `config_msix_vector`.
    pub config_vector: u16,
    /// `queue_msix_vector` of each queue.
    pub queue_vectors: Vec<u16>,
    /// `config_generation`, as it was read last. After a restore it is another one.
    pub config_generation: u8,
}

impl VirtioPci {
    /// What it is, while vCPUs and workers stand still.
    #[must_use]
    pub fn save(&self) -> SavedVirtioPci {
        SavedVirtioPci {
            config: self.config.save(),
            msix: self.interrupts.msix().save(),
            device_feature_select: self.selectors.device_feature.load(Ordering::Relaxed),
            driver_feature_select: self.selectors.driver_feature.load(Ordering::Relaxed),
            queue_select: self.selectors.queue.load(Ordering::Relaxed),
            interrupts: self.interrupts.save(),
            registers: self.registers.save(),
            device: self.registers.device().save(),
        }
    }

    /// Whether it could be this.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedVirtioPci) -> Result<(), Unfit> {
        self.config.check(&saved.config)?;
        self.interrupts.msix().check(&saved.msix)?;
        self.interrupts.check(&saved.interrupts)?;
        self.registers.device().check(&saved.device)?;
        self.registers.check(&saved.registers)
    }

    /// Makes it this: a function that was just made, while the VM is held. The PCI attendant has to be asked for a round afterwards.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore(&self, saved: &SavedVirtioPci) -> Result<(), Unfit> {
        self.check(saved)?;
        self.config.restore(&saved.config);
        self.interrupts.msix().restore(&saved.msix);
        self.selectors.device_feature.store(saved.device_feature_select, Ordering::Relaxed);
        self.selectors.driver_feature.store(saved.driver_feature_select, Ordering::Relaxed);
        self.selectors.queue.store(saved.queue_select, Ordering::Relaxed);
        self.interrupts.restore(&saved.interrupts);
        self.registers.device().restore(&saved.device);
        // The last: with it the activator may begin.
        self.registers.restore(&saved.registers)
    }
}
