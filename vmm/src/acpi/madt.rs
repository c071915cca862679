//! The interrupt controllers (ACPI 6.5, 5.2.12).
//!
//! Every processor that the VM can have has an entry: enabled if it is there from the start, else online-capable. One whose APIC id
//! fits xAPIC mode has a local APIC entry, any other an x2APIC entry.
//! LINT1 of every one is wired to NMI, as `KVM_NMI` needs it to be programmed.

use acpi_tables::Aml;
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::sdt::Sdt;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::cpuid::{ApicId, Topology, TopologyError};
use crate::memory::layout;

/// The table's revision for ACPI 6.3 and later.
const REVISION: u8 = 5;

/// Header, local APIC address, flags. The flags stay 0: there are no 8259s.
const FIXED: u32 = 44;

pub(super) fn build(topology: &Topology, boot_vcpus: u32) -> Result<Vec<u8>, TopologyError> {
    let mut structures = Vec::new();
    let mut widest = Mode::Xapic;
    // Those of the start are among the possible ones, or the topology has no id for them.
    for vcpu in 0..topology.vcpus().max(boot_vcpus) {
        let status = if vcpu < boot_vcpus {
            EnabledStatus::Enabled
        } else {
            EnabledStatus::DisabledOnlineCapable
        };
        widest = processor(&mut structures, vcpu, topology.apic_id(vcpu)?, status);
    }
    // The address is a constant below 4 GiB.
    let address = |gpa: vm_memory::GuestAddress| u32::try_from(gpa.0).unwrap_or(u32::MAX);
    IoApic::new(0, address(layout::IOAPIC), 0).to_aml_bytes(&mut structures);
    // All processors: UID 0xFF, or 0xFFFF_FFFF. Flags 0: polarity and trigger of the bus.
    structures.extend([4, 6, 0xFF, 0, 0, 1]);
    // Ids rise with the index, so the last processor tells whether there are x2APIC entries.
    if widest == Mode::X2apic {
        structures.extend([0xA, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
    }

    let mut table = Sdt::new(*b"APIC", FIXED, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.write_u32(36, address(layout::LOCAL_APIC));
    table.append_slice(&structures);
    Ok(table.as_slice().to_vec())
}

/// The entry of a processor that is enabled: what `_MAT` gives, as a processor that has come is not among those of the start.
pub(super) fn entry(vcpu: u32, id: ApicId) -> Vec<u8> {
    let mut structures = Vec::new();
    processor(&mut structures, vcpu, id, EnabledStatus::Enabled);
    structures
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Xapic,
    X2apic,
}

fn processor(structures: &mut Vec<u8>, vcpu: u32, id: ApicId, status: EnabledStatus) -> Mode {
    // An id is at least the index, so an index has 8 bits where the id has.
    if let (Some(id), Ok(uid)) = (id.xapic(), u8::try_from(vcpu)) {
        ProcessorLocalApic::new(uid, id, status).to_aml_bytes(structures);
        return Mode::Xapic;
    }
    // Type 9, 16 bytes, two reserved; id, flags, UID.
    structures.extend([9, 16, 0, 0]);
    for word in [id.0, status as u32, vcpu] {
        structures.extend(word.to_le_bytes());
    }
    Mode::X2apic
}
