//! The ACPI tables: how the guest learns of its processors, its legacy devices, and how to
//! switch itself off.
//!
//! ```text
//!  RSDP ──> XSDT ─┬─> FADT ──> DSDT   (AML: processors, COM1, RTC, panic port, PCI, hotplug, \_S5)
//!                 ├─> MADT            (local APICs, I/O APIC, NMI wiring)
//!                 ├─> MCFG            (PCI configuration space)
//!                 ├─> SRAT            (NUMA nodes, and where memory may be plugged; if there are some, if any may)
//!                 └─> SLIT            (how far NUMA nodes are from each other, if that is given)
//! ```
//!
//! The platform is *hardware-reduced* (ACPI 6.5, 3.11.1): no PM timer, no PM1 registers, no SCI,
//! no 8259; sleep and reset are three byte-wide I/O ports ([`SLEEP_CONTROL_PORT`],
//! [`SLEEP_STATUS_PORT`], [`RESET_PORT`]; the reset vector in guest memory writes the last, too). There are no interrupt source overrides: GSI n is pin
//! n of the I/O APIC, and each device's resources say edge-triggered, active high;
//! PCI's lines have pins of their own, 16 to 23.
//!
//! Invariants:
//! - every table's bytes sum to 0, and `iasl` takes it without a warning;
//! - processors have the APIC ids of [`Topology::apic_id`](crate::cpuid::Topology::apic_id) and
//!   their vCPU index as `_UID`; those that may come later are there, too, and say that they are absent;
//! - all tables lie in the area that the memory map calls ACPI.
mod cpus;
mod dsdt;
mod fadt;
mod ged;
mod madt;
mod nodes;
mod pci;
mod pci_routing;
mod power_button;
mod registers;
mod srat;
mod tables;

pub use nodes::{Domain, Nodes};
pub use registers::{RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT, SleepControl};
pub use srat::{MemoryRange, Presence, memory_of};
pub use tables::{AcpiError, LegacyDevice, Platform, Table, build, write};

const OEM_ID: [u8; 6] = *b"STILLP";
const OEM_TABLE_ID: [u8; 8] = *b"STILLPNT";
const OEM_REVISION: u32 = 1;
