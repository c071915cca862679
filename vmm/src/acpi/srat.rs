//! Which processors and which memory are near each other (ACPI 6.5, 5.2.16): here, all of them.
//!
//! The table exists where memory can be plugged later: it is the only one that tells a guest before that how far its memory may reach.
//! Linux needs it to know in time that a device which addresses 32 bits only may need bounce buffers (`max_possible_pfn`), and takes a
//! table that leaves any of its RAM out for broken.

use acpi_tables::Aml;
use acpi_tables::sdt::Sdt;
use acpi_tables::srat::MemoryAffinity;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::cpuid::{ApicId, Topology, TopologyError};
use crate::memory::GuestRam;

/// With 32 bits for a proximity domain.
const REVISION: u8 = 3;

/// Header, a reserved 1, reserved.
const FIXED: u32 = 48;

/// The only proximity domain.
const DOMAIN: u32 = 0;

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Where it begins.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether memory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// From the start and for good.
    Always,
    /// It may be plugged.
    HotPluggable,
}

/// The ranges of a VM with this RAM, by ascending address; none if nothing can be plugged.
pub fn memory_of(ram: &GuestRam) -> Vec<MemoryRange> {
    let Some((hot, _)) = ram.hot_region() else { return Vec::new() };
    let range = |region: crate::memory::RamRegion| MemoryRange {
        start: region.gpa.0,
        size: region.size,
        presence: if region.gpa == hot { Presence::HotPluggable } else { Presence::Always },
    };
    ram.regions().map(range).collect()
}

pub(super) fn build(topology: &Topology, memory: &[MemoryRange]) -> Result<Vec<u8>, TopologyError> {
    let mut structures = Vec::new();
    for vcpu in 0..topology.vcpus() {
        processor(&mut structures, topology.apic_id(vcpu)?);
    }
    for range in memory {
        let affinity = MemoryAffinity::new(DOMAIN, range.start, range.size).enabled();
        match range.presence {
            Presence::Always => affinity,
            Presence::HotPluggable => affinity.hotpluggable(),
        }
        .to_aml_bytes(&mut structures);
    }
    let mut table = Sdt::new(*b"SRAT", FIXED, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.write_u32(36, 1);
    table.append_slice(&structures);
    Ok(table.as_slice().to_vec())
}

/// A processor that may be there, with the id that the interrupt controller table has: the domain's low byte, the id, flags (enabled), SAPIC
/// id, the domain's upper bytes, clock domain. Or, for an id of more bits: reserved, the domain, the id, flags, clock domain, reserved.
fn processor(structures: &mut Vec<u8>, id: ApicId) {
    let [low, upper @ ..] = DOMAIN.to_le_bytes();
    if let Some(id) = id.xapic() {
        structures.extend([0, 16, low, id, 1, 0, 0, 0, 0]);
        structures.extend(upper);
        structures.extend([0; 4]);
    } else {
        structures.extend([2, 24, 0, 0]);
        for word in [DOMAIN, id.0, 1, 0, 0] {
            structures.extend(word.to_le_bytes());
        }
    }
}
