//! What the PCI root asks of a function.

use std::sync::Arc;

use super::config::ConfigSpace;
use super::msix::Msix;
use crate::bus::Written;
use crate::event::Event;

/// One of a function's six base address registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BarIndex(pub u8);

/// A place in a BAR where writes are doorbells.
#[derive(Clone)]
pub struct BarDoorbell {
    /// The BAR.
    pub bar: BarIndex,
    /// Bytes from its beginning.
    pub offset: u64,
    /// What is notified.
    pub event: Arc<Event>,
}

/// A PCI function. Accesses may come from any number of vCPUs at once, in the middle of an exit: none may
/// block.
pub trait PciFunction: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> &str;

    /// Its configuration space: header, BARs, capabilities.
    fn config(&self) -> &ConfigSpace;

    /// Its vectors, if its configuration space has the MSI-X capability (`ConfigBuilder::add_msix`). Writes of the message
    /// control register reach them by themselves, and the attendant routes them; the function serves table and
    /// pending bits in its BARs, and raises.
    fn msix(&self) -> Option<&Msix> {
        None
    }

    /// Called before a read of the configuration space, with a place for what is read: for windows whose
    /// contents are made when they are read. What it fills in is taken in place of the space's; true if it did.
    fn read_config_window(&self, offset: u16, data: &mut [u8]) -> bool {
        let _ = (offset, data);
        false
    }

    /// Called after a write of the configuration space has been taken: for windows that are more than memory, and for
    /// control registers of capabilities. Where the write is also one of a BAR or the command register, it is
    /// not this ticket that is waited for, but a round, and thus [`reconcile`](Self::reconcile).
    fn config_written(&self, offset: u16, data: &[u8]) -> Written {
        let _ = (offset, data);
        Written::Done
    }

    /// A read in one of its BARs.
    fn read_bar(&self, bar: BarIndex, offset: u64, data: &mut [u8]);

    /// A write in one of its BARs.
    fn write_bar(&self, bar: BarIndex, offset: u64, data: &[u8]) -> Written;

    /// The doorbells in its BARs, which the attendant registers wherever the BARs go.
    fn doorbells(&self) -> Vec<BarDoorbell> {
        Vec::new()
    }

    /// Called by the PCI attendant's thread in every round: whatever of its registers has to be carried to the hypervisor.
    fn reconcile(&self) {}
}
