//! Whether zones and NUMA nodes make sense together.
//!
//! With nodes every vCPU that the VM can have is in exactly one, and so is every zone: a kernel takes tables that leave out some of its
//! memory for broken, and then has one node. Distances are given for every pair of nodes in both directions, or for none; a guest
//! takes 20 for those of none. Their table (SLIT) is a square whose rows are node numbers, so with distances these have no gaps.
use std::collections::{BTreeMap, BTreeSet};

use super::validate::{bytes, invalid};
use super::{ConfigError, MemoryConfig, NumaConfig, VmConfig};

/// The most nodes: as many as the default of common guests has room for (`CONFIG_NODES_SHIFT` of Linux on x86-64).
pub const MAX_NUMA_NODES: usize = 64;

/// The highest number of a node: a memory device tells its own in 16 bits (virtio 1.2, 5.15.4).
const MAX_NODE_ID: u32 = u16::MAX as u32;

/// How far a node is from itself (ACPI 6.5, 5.2.17).
pub(crate) const LOCAL_DISTANCE: u8 = 10;

/// What cannot be told from the zones' sum.
pub(super) fn check_zones(memory: &MemoryConfig) -> Result<(), String> {
    let Some(first) = memory.zones.first() else { return Ok(()) };
    if memory.size != 0 {
        return Err(format!(
            "size {} beside zones: with zones it is 0 (--memory size=0), they have sizes of their own",
            bytes(memory.size)
        ));
    }
    let own = [
        ("shared", memory.shared),
        ("hugepages", memory.hugepages),
        ("hugepage_size", memory.hugepage_size.is_some()),
        ("prefault", memory.prefault),
        ("hotplug_size", memory.hotplug_size.is_some()),
        ("hotplugged_size", memory.hotplugged_size.is_some()),
    ];
    if let Some((key, _)) = own.into_iter().find(|(_, given)| *given) {
        return Err(format!("{key} beside zones: give it to the zones (--memory-zone)"));
    }
    let mut ids = BTreeSet::new();
    let mut hot = None;
    for zone in &memory.zones {
        let id = &zone.id;
        if id.is_empty() {
            return Err("a zone's id is empty".to_owned());
        }
        if !ids.insert(id) {
            return Err(format!("two zones have the id {id:?}; each needs its own"));
        }
        let page = zone.hugepage_size.filter(|_| zone.hugepages).unwrap_or(4096).max(1);
        if zone.size == 0 || !zone.size.is_multiple_of(page) {
            return Err(format!(
                "zone {id:?}: {} are no whole number of {} pages, at least one",
                bytes(zone.size),
                bytes(page)
            ));
        }
        if zone.backing() != first.backing() {
            return Err(format!(
                "zones {:?} and {id:?} differ in shared, hugepages, hugepage_size or prefault; \
                 guest RAM is of one kind, so they must agree",
                first.id
            ));
        }
        if zone.hotplug_size.is_none() && zone.hotplugged_size.is_some() {
            return Err(format!("zone {id:?}: hotplugged_size without a hotplug_size"));
        }
        if zone.hotplug_size.is_some()
            && let Some(other) = hot.replace(id)
        {
            return Err(format!(
                "zones {other:?} and {id:?} both have a hotplug_size; memory is plugged into one zone"
            ));
        }
    }
    Ok(())
}

impl VmConfig {
    pub(super) fn check_numa(&self) -> Result<(), ConfigError> {
        if self.numa.is_empty() {
            return Ok(());
        }
        if self.numa.len() > MAX_NUMA_NODES {
            let problem = format!("{} nodes; at most {MAX_NUMA_NODES}", self.numa.len());
            return Err(invalid("numa", &problem));
        }
        self.check_nodes()?;
        self.check_all_is_in_a_node().map_err(|problem| invalid("numa", &problem))?;
        check_distances(&self.numa)
    }

    /// Each node by itself, and that nothing is in two.
    fn check_nodes(&self) -> Result<(), ConfigError> {
        let zones: BTreeSet<_> = self.memory.zone_sizes().into_iter().map(|(id, _)| id).collect();
        let mut nodes = BTreeSet::new();
        let mut node_of_cpu = BTreeMap::new();
        let mut node_of_zone = BTreeMap::new();
        let mut node_of_pci = None;
        for (index, node) in self.numa.iter().enumerate() {
            let id = node.guest_numa_id;
            let refuse = |problem: String| Err(invalid(&format!("numa[{index}]"), &problem));
            if !nodes.insert(id) {
                return refuse(format!("guest_numa_id {id} is given more than once"));
            }
            if id > MAX_NODE_ID {
                return refuse(format!("guest_numa_id {id}: at most {MAX_NODE_ID}"));
            }
            if node.cpus.is_empty() && node.memory_zones.is_empty() {
                return refuse(format!("node {id} has neither vCPUs nor memory"));
            }
            for cpu in &node.cpus {
                if *cpu >= self.cpus.max_vcpus {
                    let last = self.cpus.max_vcpus.saturating_sub(1);
                    return refuse(format!("vCPU {cpu} of node {id}: the last one is {last}"));
                }
                if let Some(other) = node_of_cpu.insert(*cpu, id) {
                    return refuse(format!("vCPU {cpu} is in node {other} and in node {id}"));
                }
            }
            for segment in &node.pci_segments {
                if *segment != 0 {
                    return refuse(format!("PCI segment {segment} of node {id}: there is only 0"));
                }
                if let Some(other) = node_of_pci.replace(id) {
                    return refuse(format!("PCI segment 0 is in node {other} and in node {id}"));
                }
            }
            for zone in &node.memory_zones {
                if !zones.contains(zone.as_str()) {
                    let known: Vec<_> = zones.iter().map(|zone| format!("{zone:?}")).collect();
                    return refuse(format!(
                        "node {id} has the zone {zone:?}, which is not there; there are {}",
                        known.join(", ")
                    ));
                }
                if let Some(other) = node_of_zone.insert(zone, id) {
                    return refuse(format!("zone {zone:?} is in node {other} and in node {id}"));
                }
            }
        }
        Ok(())
    }

    fn check_all_is_in_a_node(&self) -> Result<(), String> {
        let cpus: BTreeSet<_> = self.numa.iter().flat_map(|node| &node.cpus).collect();
        if let Some(cpu) = (0..self.cpus.max_vcpus).find(|cpu| !cpus.contains(cpu)) {
            return Err(format!(
                "vCPU {cpu} is in no node; with nodes each of the {} possible ones needs one",
                self.cpus.max_vcpus
            ));
        }
        let used: BTreeSet<_> =
            self.numa.iter().flat_map(|node| &node.memory_zones).map(String::as_str).collect();
        match self.memory.zone_sizes().into_iter().find(|(zone, _)| !used.contains(zone)) {
            Some((zone, _)) => {
                Err(format!("memory zone {zone:?} is in no node; with nodes each zone needs one"))
            }
            None => Ok(()),
        }
    }
}

fn check_distances(nodes: &[NumaConfig]) -> Result<(), ConfigError> {
    if nodes.iter().all(|node| node.distances.is_empty()) {
        return Ok(());
    }
    let ids: BTreeSet<_> = nodes.iter().map(|node| node.guest_numa_id).collect();
    if let Some(gap) = (0..).zip(&ids).find_map(|(want, have)| (want != *have).then_some(want)) {
        let problem = format!(
            "there is no node {gap}: with distances, {} nodes are numbered 0 to {}",
            ids.len(),
            ids.len() - 1
        );
        return Err(invalid("numa", &problem));
    }
    for (index, node) in nodes.iter().enumerate() {
        let from = node.guest_numa_id;
        let refuse = |problem: String| Err(invalid(&format!("numa[{index}]"), &problem));
        let mut missing = ids.clone();
        for one in &node.distances {
            let (to, distance) = (one.destination, one.distance);
            if !ids.contains(&to) {
                return refuse(format!("distance to node {to}, which is not there"));
            }
            if !missing.remove(&to) {
                return refuse(format!("the distance to node {to} is given more than once"));
            }
            if to == from && distance != LOCAL_DISTANCE {
                return refuse(format!(
                    "distance {distance} of node {to} to itself: that is {LOCAL_DISTANCE} by definition"
                ));
            }
            if to != from && distance <= LOCAL_DISTANCE {
                return refuse(format!(
                    "distance {distance} to node {to}: other nodes are farther than {LOCAL_DISTANCE}, \
                     which is a node's distance to itself, and at most 255"
                ));
            }
        }
        missing.remove(&from);
        if let Some(to) = missing.first() {
            return refuse(format!(
                "the distance from node {from} to node {to} is missing; give all or none"
            ));
        }
    }
    Ok(())
}
