//! PCI (PCI Local Bus 3.0): a bus of functions, which a guest finds, configures and moves.
//!
//! ```text
//!              ┌──────────────────────────── vCPUs ───────────────────────────────┐
//!              ▼ ECAM, 0xCF8/0xCFC            ▼ BARs                               ▼ PCIU, PCID, B0EJ
//!         PciSegment ───▶ PciFunction ◀─── Bus (published by the attendant)    PciHotplug
//!              │ WorkItem      │ Msix                                              │ EjectSink
//!              ▼               ▼                                                   ▼
//!         PciAttendant ──▶ PciPlatform: doorbells, MSI routes                  PciSegment::remove
//! ```
//!
//! Registers are atomics, which vCPUs change without waiting. What they mean for the buses and the
//! hypervisor is the attendant's to carry out; a vCPU whose write needs that waits for a ticket, in its own
//! word, where a pause finds it.

mod attendant;
mod config;
mod function;
mod hotplug;
mod msix;
mod platform;
mod segment;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use attendant::{PciAttendant, PciObserver, PciWorld};
pub use config::{
    BARS, BarSpace, BarState, CONFIG_LEN, ConfigBuilder, ConfigError, ConfigSpace, Identity,
    SavedConfig,
};
pub use function::{BarDoorbell, BarIndex, PciFunction};
pub use hotplug::{EjectSink, PciHotplug, SavedHotplug};
pub use msix::{ENTRY_LEN, MAX_VECTORS, Msix, MsixControl, MsixPlacement, SavedMsix, SavedVector};
pub use platform::{MsiLine, MsiMessage, PciPlatform};
pub use segment::{
    ConfigPorts, Ecam, InsertError, NotRemovable, Occupied, PciSegment, PciWindows, Place, Slot,
    SlotState,
};
