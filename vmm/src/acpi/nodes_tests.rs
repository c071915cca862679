//! NUMA nodes in the tables.

use super::super::{Domain, MemoryRange, Nodes, Presence, memory_of};
use super::*;
use crate::config::VmConfig;

const GIB: u64 = 1 << 30;

/// Three nodes, one without memory, whose zones lie on both sides of the hole; two of six vCPUs come later.
pub(super) const JSON: &str = r#"{
    "cpus": {"boot_vcpus": 4, "max_vcpus": 6},
    "memory": {"hotplug_method": "VirtioMem", "zones": [
        {"id": "near", "size": 2147483648},
        {"id": "far", "size": 3221225472, "hotplug_size": 1073741824}
    ]},
    "numa": [
        {"guest_numa_id": 2, "cpus": [5], "distances": [
            {"destination": 0, "distance": 40}, {"destination": 1, "distance": 30}]},
        {"guest_numa_id": 0, "cpus": [0, 2], "memory_zones": ["near"], "distances": [
            {"destination": 1, "distance": 21}, {"destination": 2, "distance": 255}]},
        {"guest_numa_id": 1, "cpus": [1, 3, 4], "memory_zones": ["far"], "distances": [
            {"destination": 0, "distance": 20}, {"destination": 2, "distance": 30}]}
    ]
}"#;

fn config() -> VmConfig {
    let config = VmConfig::from_json(JSON.as_bytes()).unwrap();
    config.validate().unwrap();
    config
}

pub(super) fn tables_with_nodes() -> Vec<Table> {
    let config = config();
    let nodes = Nodes::of(&config);
    let topology = Topology::new(&config.cpus).unwrap();
    let ram = GuestRam::new(&config.memory, 40).unwrap();
    let platform = Platform {
        topology: &topology,
        boot_vcpus: config.cpus.boot_vcpus,
        devices: &super::tests::ALL,
        pci: super::tests::WINDOWS,
        memory: &memory_of(&ram, &nodes),
        nodes: &nodes,
    };
    build(&platform).unwrap()
}

fn bytes(signature: [u8; 4]) -> Vec<u8> {
    tables_with_nodes().into_iter().find(|table| table.signature == signature).unwrap().bytes
}

#[test]
fn a_zone_on_both_sides_of_the_hole_is_two_ranges_of_its_node() {
    let config = config();
    let ram = GuestRam::new(&config.memory, 40).unwrap();
    let range = |start, size, presence, domain| MemoryRange {
        start: start * GIB,
        size: size * GIB,
        presence,
        domain: Domain(domain),
    };
    let expected = [
        range(0, 2, Presence::Always, 0),
        range(2, 1, Presence::Always, 1),
        range(4, 2, Presence::Always, 1),
        range(6, 1, Presence::HotPluggable, 1),
    ];
    assert_eq!(memory_of(&ram, &Nodes::of(&config)), expected);
}

#[test]
fn every_possible_processor_has_its_domain() {
    let srat = bytes(*b"SRAT");
    // Entries of 16 bytes: type, length, the domain's low byte, id, enabled.
    let entries: Vec<_> = srat[48..48 + 6 * 16].chunks(16).map(|entry| &entry[..5]).collect();
    let expected: Vec<_> =
        [0, 1, 0, 1, 1, 2].iter().zip(0..).map(|(node, id)| vec![0, 16, *node, id, 1]).collect();
    assert_eq!(entries, expected);

    let dsdt = bytes(*b"DSDT");
    let has = |what: &[u8]| dsdt.windows(what.len()).filter(|window| *window == what).count();
    // The PCI bus is in the first.
    assert_eq!([has(b"_PXM\0"), has(b"_PXM\x01"), has(b"_PXM\x0A\x02")], [3, 3, 1]);
}

#[test]
fn x2apic_processors_have_a_domain_of_32_bits() {
    let mut config = config();
    config.cpus.max_vcpus = 300;
    config.numa[0].guest_numa_id = 0x1234;
    config.numa[0].cpus = (5..300).collect();
    let topology = Topology::new(&config.cpus).unwrap();
    let srat = super::srat::build(&topology, &[], &Nodes::of(&config)).unwrap();
    let last = &srat[srat.len() - 24..];
    assert_eq!(last[..16], [2, 24, 0, 0, 0x34, 0x12, 0, 0, 43, 1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(srat[48 + 5 * 16..][..16], [0, 16, 0x34, 5, 1, 0, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn distances_are_rows_of_the_nodes_in_order() {
    let slit = bytes(*b"SLIT");
    assert_eq!((slit[36], slit.len()), (3, 44 + 9));
    assert_eq!(slit[44..], [10, 21, 255, 20, 10, 30, 40, 30, 10]);
}

#[test]
fn without_distances_there_is_no_table_of_them() {
    let mut config = config();
    config.numa.iter_mut().for_each(|node| node.distances.clear());
    let nodes = Nodes::of(&config);
    assert!(nodes.exist() && nodes.distances().is_none());
    assert!(!Nodes::default().exist() && Nodes::default().distances().is_none());
}

#[test]
fn the_pci_bus_is_in_the_node_that_asks_for_it() {
    let mut config = config();
    assert_eq!(Nodes::of(&config).of_pci(), Some(Domain(0)));
    config.numa[0].pci_segments = vec![0];
    assert_eq!(Nodes::of(&config).of_pci(), Some(Domain(2)));
    assert_eq!(Nodes::default().of_pci(), None);
}

/// The memory's only zone has a name, so one node needs no zones.
#[test]
fn one_node_can_have_all_memory() {
    let json = br#"{"numa": [{"guest_numa_id": 7, "cpus": [0], "memory_zones": ["mem0"]}]}"#;
    let config = VmConfig::from_json(json).unwrap();
    config.validate().unwrap();
    let ram = GuestRam::new(&config.memory, 40).unwrap();
    let [range] = memory_of(&ram, &Nodes::of(&config))[..] else { panic!("one range") };
    assert_eq!((range.start, range.size, range.domain), (0, 512 << 20, Domain(7)));
}
