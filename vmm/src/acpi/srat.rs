//! Which processors and which memory are near each other (ACPI 6.5, 5.2.16).
//!
//! The table exists where there are NUMA nodes, and where memory can be plugged later: it is the only one that tells a guest before that
//! how far its memory may reach. Linux needs it to know in time that a device which addresses 32 bits only may need bounce buffers
//! (`max_possible_pfn`), and takes a table that leaves any of its RAM out for broken. Without nodes everything is in domain 0.
//!
//! Every processor that the VM can have is listed as enabled: whether it is there is the interrupt controller table's to say, and a
//! guest that brings one up later finds its domain here (and in `_PXM`).

use acpi_tables::Aml;
use acpi_tables::sdt::Sdt;
use acpi_tables::srat::MemoryAffinity;

use super::nodes::{Domain, Nodes};
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::cpuid::{ApicId, Topology, TopologyError};
use crate::memory::GuestRam;

/// With 32 bits for a proximity domain.
const REVISION: u8 = 3;

/// Header, a reserved 1, reserved.
const FIXED: u32 = 48;

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Where it begins.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
    /// Whether it is there.
    pub presence: Presence,
    /// Its proximity domain.
    pub domain: Domain,
}

/// Whether memory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// From the start and for good.
    Always,
    /// It may be plugged.
    HotPluggable,
}

/// The ranges of a VM with this RAM, by ascending address; none if there are no nodes and nothing can be plugged. A zone that lies on
/// both sides of the 32-bit hole has two.
pub fn memory_of(ram: &GuestRam, nodes: &Nodes) -> Vec<MemoryRange> {
    let hot = ram.hot_region();
    if hot.is_none() && !nodes.exist() {
        return Vec::new();
    }
    let only = [(ram.size(), Domain(0))];
    let mut zones = if nodes.exist() { nodes.memory() } else { &only }.iter().copied();
    let mut zone = zones.next();
    let mut ranges = Vec::new();
    for region in ram.regions().filter(|region| hot.is_none_or(|(hot, _)| region.gpa != hot)) {
        let (mut start, mut left) = (region.gpa.0, region.size);
        // What is left of a zone goes on in the next region. Each step uses up a zone or a region.
        while let Some((unplaced, domain)) = zone.filter(|_| left > 0) {
            let size = left.min(unplaced);
            ranges.push(MemoryRange { start, size, presence: Presence::Always, domain });
            (start, left) = (start + size, left - size);
            zone = if size < unplaced { Some((unplaced - size, domain)) } else { zones.next() };
        }
    }
    let hot = hot.map(|(start, size)| MemoryRange {
        start: start.0,
        size,
        presence: Presence::HotPluggable,
        domain: nodes.hot(),
    });
    ranges.extend(hot);
    ranges
}

pub(super) fn build(
    topology: &Topology,
    memory: &[MemoryRange],
    nodes: &Nodes,
) -> Result<Vec<u8>, TopologyError> {
    let mut structures = Vec::new();
    for vcpu in 0..topology.vcpus() {
        processor(&mut structures, topology.apic_id(vcpu)?, nodes.of_vcpu(vcpu));
    }
    for range in memory {
        let affinity = MemoryAffinity::new(range.domain.0, range.start, range.size).enabled();
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
fn processor(structures: &mut Vec<u8>, id: ApicId, Domain(domain): Domain) {
    let [low, upper @ ..] = domain.to_le_bytes();
    if let Some(id) = id.xapic() {
        structures.extend([0, 16, low, id, 1, 0, 0, 0, 0]);
        structures.extend(upper);
        structures.extend([0; 4]);
    } else {
        structures.extend([2, 24, 0, 0]);
        for word in [domain, id.0, 1, 0, 0] {
            structures.extend(word.to_le_bytes());
        }
    }
}
