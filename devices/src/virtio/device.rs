//! What the transport asks of a device type: its registers for vCPUs, and its workers for the activator.

use std::sync::Arc;

use super::interrupt::VirtioInterrupt;
use super::queue::Virtqueue;
use super::saved::SavedDevice;
use super::worker::Worker;
use crate::memory::GuestMemory;
use crate::saved::Unfit;

/// Device types (virtio 1.2, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    /// Network card (5.1).
    Net = 1,
    /// Block device (5.2).
    Block = 2,
    /// Console (5.3).
    Console = 3,
    /// Entropy source (5.4).
    Rng = 4,
    /// Memory balloon (5.5).
    Balloon = 5,
    /// Socket device (5.10).
    Vsock = 19,
    /// Memory that comes and goes (5.15).
    Mem = 24,
}

/// Feature bits that were negotiated (virtio 1.2, section 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// VIRTIO_F_INDIRECT_DESC.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// VIRTIO_F_EVENT_IDX.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// VIRTIO_F_VERSION_1.
    pub const VERSION_1: u64 = 1 << 32;
    /// VIRTIO_F_RING_RESET.
    pub const RING_RESET: u64 = 1 << 40;

    /// Whether all of `bits` were negotiated.
    #[must_use]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }
}

/// A device type's own part of a virtio device. What takes `&self` and has no other note is called by any
/// number of vCPUs at once, in the middle of an exit: it must not block.
pub trait VirtioDevice: Send + Sync {
    /// What it is called in messages and counters: its id.
    fn name(&self) -> &str;

    /// Its type.
    fn device_type(&self) -> DeviceType;

    /// Feature bits of its type (bits 0 to 23, and 50 to 127) that it offers. Those of the ring and of
    /// the transport are the transport's.
    fn features(&self) -> u64;

    /// The greatest size of each of its queues: powers of two.
    fn queue_sizes(&self) -> &[u16];

    /// Fills `data` from `offset` bytes into the device-specific configuration (virtio 1.2, 2.5); what lies
    /// beyond its end reads as zeros.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Takes `data` at `offset` bytes into the device-specific configuration. Most devices have
    /// nothing there that can be written.
    fn write_config(&self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }

    /// Makes the workers for a driver that has set DRIVER_OK. Called by the activator's thread, while no worker
    /// of this device exists; it may block, and nobody but the vCPU that wrote DRIVER_OK waits for it, until
    /// a pause or kill.
    ///
    /// # Errors
    /// Why the device cannot work; the driver is told by DEVICE_NEEDS_RESET.
    fn activate(&self, activation: Activation) -> Result<Vec<Box<dyn Worker>>, ActivationError>;

    /// The driver has reset the device; every worker has ended. Called by the activator's thread.
    fn reset(&self) {}

    /// What of it a guest can tell that is in no register and no queue. Called while vCPUs and workers stand still; the host's side may
    /// go on.
    fn save(&self) -> SavedDevice {
        SavedDevice::Plain
    }

    /// Whether it could be this.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        match saved {
            SavedDevice::Plain => Ok(()),
            other => Err(other.of_another()),
        }
    }

    /// Makes it this, which was checked: of a device that was just made, before its workers are.
    fn restore(&self, saved: &SavedDevice) {
        let _ = saved;
    }
}

/// Whom an activation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A driver that has just set DRIVER_OK.
    Driver,
    /// A driver that has had the device before: its VM was saved and restored, and the queues go on where they stood.
    Restored,
}

/// What a device is activated with.
pub struct Activation {
    /// Guest RAM.
    pub memory: GuestMemory,
    /// What was negotiated.
    pub features: Features,
    /// The queues that the driver has enabled, by ascending index.
    pub queues: Vec<Virtqueue>,
    /// For announcing changes of the configuration. (A queue's interrupt is raised through the queue.)
    pub interrupt: Arc<dyn VirtioInterrupt>,
    /// Whom it is for.
    pub origin: Origin,
}

impl Activation {
    /// Takes the queue with this index out.
    pub fn take_queue(&mut self, index: u16) -> Option<Virtqueue> {
        let place = self.queues.iter().position(|queue| queue.index() == index)?;
        Some(self.queues.remove(place))
    }
}

/// A device could not be activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The driver has not enabled a queue that the device cannot do without.
    #[error("the driver has not enabled queue {0}")]
    MissingQueue(u16),
    /// The host refuses something.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}
