//! What PCI functions need from the hypervisor, which this crate does not know.

use std::io;
use std::sync::Arc;

use crate::event::Event;

/// A message-signalled interrupt as a driver programs it (PCI Local Bus 3.0, 6.8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MsiMessage {
    /// Where the write goes.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// One interrupt of a function, through the hypervisor.
pub trait MsiLine: Send + Sync {
    /// What raising it means from now on; without a message it means nothing. Called by the PCI attendant's thread
    /// only; may take time.
    ///
    /// # Errors
    /// The hypervisor refuses the message.
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()>;

    /// Raises it. Never blocks; called by workers and vCPUs.
    fn raise(&self);
}

/// The hypervisor, as far as PCI functions need it. Every method may take time, and none is called by a vCPU.
pub trait PciPlatform: Send + Sync {
    /// From now on a write of the guest to this GPA, of any size, notifies `event` and does not exit.
    ///
    /// # Errors
    /// The hypervisor refuses it; writes reach the bus then.
    fn add_doorbell(&self, gpa: u64, event: &Event) -> io::Result<()>;

    /// Takes a doorbell away.
    ///
    /// # Errors
    /// There is no such doorbell.
    fn remove_doorbell(&self, gpa: u64, event: &Event) -> io::Result<()>;

    /// A new interrupt, without a route. Its drop gives it back.
    ///
    /// # Errors
    /// The host has none left.
    fn new_msi(&self) -> io::Result<Arc<dyn MsiLine>>;
}
