//! The guest's NUMA nodes as the tables tell them: proximity domains (ACPI 6.5, 5.2.16), and how far they are from each other (5.2.17).
//!
//! ```text
//!   --numa ─▶ Nodes ─┬─▶ SRAT: each processor's domain, each range of memory's
//!                    ├─▶ SLIT: the distances, if some are given
//!                    └─▶ DSDT: `_PXM` of each processor, which one that comes later goes by, and of the PCI bus
//! ```
//!
//! A VM without nodes has everything in domain 0, and no `_PXM`.

use acpi_tables::sdt::Sdt;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::config::{LOCAL_DISTANCE, NumaConfig, VmConfig};

/// Header, number of localities.
const FIXED: u32 = 44;

/// A proximity domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(pub u32);

/// Which domain everything is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    numa: Vec<NumaConfig>,
    /// The memory zones in the order of guest RAM: bytes, domain. Empty without nodes.
    memory: Vec<(u64, Domain)>,
    hot: Domain,
}

impl Nodes {
    /// Those of a valid configuration.
    pub fn of(config: &VmConfig) -> Self {
        let VmConfig { numa, memory, .. } = config;
        let domain_of = |zone: &str| {
            let has = |node: &&NumaConfig| node.memory_zones.iter().any(|its| its == zone);
            Domain(numa.iter().find(has).map_or(0, |node| node.guest_numa_id))
        };
        let zones = memory.zone_sizes().into_iter().filter(|_| !numa.is_empty());
        Self {
            numa: numa.clone(),
            memory: zones.map(|(id, size)| (size, domain_of(id))).collect(),
            hot: memory.hot_zone_id().map_or(Domain(0), domain_of),
        }
    }

    /// Whether the guest is told of nodes at all.
    pub fn exist(&self) -> bool {
        !self.numa.is_empty()
    }

    /// The domain of memory that may be plugged.
    pub fn hot(&self) -> Domain {
        self.hot
    }

    /// A processor's domain.
    pub(super) fn of_vcpu(&self, vcpu: u32) -> Domain {
        let has = |node: &&NumaConfig| node.cpus.contains(&vcpu);
        Domain(self.numa.iter().find(has).map_or(0, |node| node.guest_numa_id))
    }

    /// The domain of the PCI bus.
    pub(super) fn of_pci(&self) -> Option<Domain> {
        let has = |node: &&NumaConfig| !node.pci_segments.is_empty();
        let given = self.numa.iter().find(has).map(|node| node.guest_numa_id);
        given.or_else(|| self.numa.iter().map(|node| node.guest_numa_id).min()).map(Domain)
    }

    /// The memory zones in the order of guest RAM: bytes, domain. Empty without nodes.
    pub(super) fn memory(&self) -> &[(u64, Domain)] {
        &self.memory
    }

    /// The table of distances, if some are given.
    pub(super) fn distances(&self) -> Option<Vec<u8>> {
        if self.numa.iter().all(|node| node.distances.is_empty()) {
            return None;
        }
        let mut table = Sdt::new(*b"SLIT", FIXED, 1, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
        table.write_u64(36, self.numa.len() as u64);
        // A row for each domain. With distances they are numbered from 0 without a gap.
        let mut nodes: Vec<_> = self.numa.iter().collect();
        nodes.sort_by_key(|node| node.guest_numa_id);
        let distance = |from: &NumaConfig, to: &NumaConfig| {
            let to = to.guest_numa_id;
            let given = from.distances.iter().find(|one| one.destination == to);
            given.map_or(LOCAL_DISTANCE, |one| one.distance)
        };
        let rows = nodes.iter().flat_map(|from| nodes.iter().map(|to| distance(from, to)));
        table.append_slice(&rows.collect::<Vec<u8>>());
        Some(table.as_slice().to_vec())
    }
}
