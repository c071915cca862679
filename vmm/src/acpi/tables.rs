//! Putting the tables together and into guest memory.

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, dsdt, fadt, madt, nodes::Nodes, pci, srat};
use crate::cpuid::{Topology, TopologyError};
use crate::memory::layout::PciWindows;
use crate::memory::{GuestRam, layout};

/// What the tables describe.
#[derive(Clone, Copy, Debug)]
pub struct Platform<'a> {
    /// Numbers the processors.
    pub topology: &'a Topology,
    /// Processors that are there from the start; at least 1, at most the topology's. The others may come.
    pub boot_vcpus: u32,
    /// Legacy devices that exist.
    pub devices: &'a [LegacyDevice],
    /// Where PCI functions' registers may go.
    pub pci: PciWindows,
    /// What memory there is and may be; empty if none can be plugged and there are no nodes.
    pub memory: &'a [srat::MemoryRange],
    /// Which NUMA nodes there are.
    pub nodes: &'a Nodes,
}

/// A device at its customary ports, which no bus discovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyDevice {
    /// 16550 at 0x3F8, IRQ 4.
    Com1,
    /// The port through which a guest's kernel says that it has crashed.
    PvPanic,
    /// MC146818 clock at 0x70, IRQ 8.
    Rtc,
}

/// Processor devices are named with three hexadecimal digits.
const MAX_PROCESSORS: u32 = 0x1000;

/// Why the tables could not be made.
#[derive(Debug, Error)]
pub enum AcpiError {
    /// A processor has no APIC id.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// More processors than there are names for.
    #[error("{vcpus} vCPUs at most; the ACPI tables can describe at most {MAX_PROCESSORS}")]
    TooMany {
        /// Processors to describe.
        vcpus: u32,
    },
    /// The tables outgrow their area.
    #[error("the ACPI tables for {vcpus} vCPUs take {size} bytes; there is room for {room}")]
    TooBig {
        /// Processors described.
        vcpus: u32,
        /// Bytes of all tables.
        size: usize,
        /// Bytes of the area.
        room: u64,
    },
    /// The area is no RAM.
    #[error("guest RAM is too small for the ACPI tables: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// A finished table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its signature.
    pub signature: [u8; 4],
    /// Where it goes.
    pub address: GuestAddress,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Makes all tables; the last is the root pointer, whose signature is cut to `RSD `.
pub fn build(platform: &Platform<'_>) -> Result<Vec<Table>, AcpiError> {
    let vcpus = platform.topology.vcpus();
    if vcpus > MAX_PROCESSORS {
        return Err(AcpiError::TooMany { vcpus });
    }
    let mut placer = Placer { next: layout::ACPI_TABLES.0, tables: Vec::with_capacity(8) };
    let dsdt = placer.place(*b"DSDT", dsdt::build(platform)?);
    let fadt = placer.place(*b"FACP", fadt::build(dsdt, platform.devices));
    let madt = placer.place(*b"APIC", madt::build(platform.topology, platform.boot_vcpus)?);
    let mcfg = placer.place(*b"MCFG", pci::mcfg());
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    xsdt.add_entry(mcfg);
    if !platform.memory.is_empty() {
        let srat = srat::build(platform.topology, platform.memory, platform.nodes)?;
        xsdt.add_entry(placer.place(*b"SRAT", srat));
    }
    if let Some(slit) = platform.nodes.distances() {
        xsdt.add_entry(placer.place(*b"SLIT", slit));
    }
    let xsdt = placer.place(*b"XSDT", bytes_of(&xsdt));
    let Placer { next: end, mut tables } = placer;
    if end > layout::RSDP.0 {
        return Err(AcpiError::TooBig {
            vcpus,
            size: tables.iter().map(|table| table.bytes.len()).sum(),
            room: layout::RSDP.0 - layout::ACPI_TABLES.0,
        });
    }
    let bytes = bytes_of(&Rsdp::new(OEM_ID, xsdt));
    tables.push(Table { signature: *b"RSD ", address: layout::RSDP, bytes });
    Ok(tables)
}

/// Makes all tables and writes them to guest memory. Returns the root pointer's address, which
/// is always [`layout::RSDP`].
pub fn write(ram: &GuestRam, platform: &Platform<'_>) -> Result<GuestAddress, AcpiError> {
    for table in build(platform)? {
        ram.memory().write_slice(&table.bytes, table.address)?;
    }
    Ok(layout::RSDP)
}

struct Placer {
    next: u64,
    tables: Vec<Table>,
}

impl Placer {
    fn place(&mut self, signature: [u8; 4], bytes: Vec<u8>) -> u64 {
        let address = self.next;
        // Tables are a few hundred KiB at most, far from overflow.
        self.next = (address + bytes.len() as u64).next_multiple_of(16);
        self.tables.push(Table { signature, address: GuestAddress(address), bytes });
        address
    }
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod nodes_tests;
#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
