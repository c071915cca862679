//! Memory zones and NUMA nodes: their two notations, and what makes no VM.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

use proptest::prelude::*;
use vmm::config::{
    HotplugMethod, MemoryConfig, MemoryZoneConfig, NumaConfig, NumaDistance, ResizeConfig, VmConfig,
};

/// Two nodes of two vCPUs and half of the memory each.
fn two_nodes() -> VmConfig {
    vm(
        &["id=a,size=256M", "id=b,size=256M"],
        &[
            "guest_numa_id=0,cpus=[0-1],distances=[1@20],memory_zones=[a]",
            "guest_numa_id=1,cpus=[2-3],distances=[0@20],memory_zones=[b]",
        ],
    )
}

fn vm(zones: &[&str], nodes: &[&str]) -> VmConfig {
    let mut config = VmConfig::default();
    (config.cpus.boot_vcpus, config.cpus.max_vcpus) = (2, 4);
    config.memory.zones = zones.iter().map(|zone| zone.parse().expect(zone)).collect();
    if !zones.is_empty() {
        config.memory.size = 0;
    }
    config.numa = nodes.iter().map(|node| node.parse().expect(node)).collect();
    config
}

#[test]
fn both_notations_mean_the_same() {
    let json = r#"{
        "cpus": {"boot_vcpus": 2, "max_vcpus": 4},
        "memory": {"size": 0, "zones": [
            {"id": "a", "size": 268435456, "file": null, "host_numa_node": null, "mergeable": false},
            {"id": "b", "size": 268435456, "shared": false, "hugepages": false, "prefault": false}]},
        "numa": [
            {"guest_numa_id": 0, "cpus": [0, 1], "memory_zones": ["a"], "pci_segments": [],
             "distances": [{"destination": 1, "distance": 20}]},
            {"guest_numa_id": 1, "cpus": [2, 3], "memory_zones": ["b"], "pci_segments": null,
             "distances": [{"destination": 0, "distance": 20}]}]
    }"#;
    let config = VmConfig::from_json(json.as_bytes()).expect("valid");
    assert_eq!(config, two_nodes());
    config.validate().expect("two nodes");
    let told = serde_json::to_vec(&config).expect("serialisable");
    assert_eq!(VmConfig::from_json(&told), Ok(config), "what vm.info tells can be sent back");

    let without_size = json.replace("\"size\": 0, ", "");
    assert_eq!(VmConfig::from_json(without_size.as_bytes()), Ok(two_nodes()));
}

#[test]
fn zones_come_to_one_memory() {
    let mut config =
        vm(&["id=a,size=1G,prefault=on", "id=b,size=3G,prefault=on,hotplug_size=2G"], &[]);
    config.memory.hotplug_method = HotplugMethod::VirtioMem;
    config.validate().expect("zones need no nodes");
    let whole = config.memory.whole();
    assert_eq!((whole.size, config.memory.boot_size()), (4 << 30, 4 << 30));
    assert_eq!((whole.hotplug(), config.memory.hotplug()), (2 << 30, 2 << 30));
    assert!(whole.prefault && whole.zones.is_empty() && config.memory.hot_zone_id() == Some("b"));
    let plain = MemoryConfig::default();
    assert_eq!((plain.whole(), plain.zone_sizes()), (plain.clone(), vec![("mem0", 512 << 20)]));

    let resize = ResizeConfig { desired_ram: Some(5 << 30), ..ResizeConfig::default() };
    let resized = config.resized(&resize).expect("1 GiB of the 2 that may be plugged");
    assert_eq!(resized.memory.zones[1].hotplugged_size, Some(1 << 30));
    assert_eq!((resized.memory.requested(), resized.memory.hotplugged_size), (1 << 30, None));
    resized.validate().expect("a resized VM is valid");
}

#[test]
fn zones_that_make_no_memory() {
    for (zones, part) in [
        (&["id=a,size=0"][..], "memory: zone \"a\": 0 bytes are no whole number of 4KiB pages"),
        (&["id=a,size=5000"], "no whole number of 4KiB pages"),
        (&["id=a,size=1G", "id=a,size=1G"], "two zones have the id \"a\""),
        (
            &["id=a,size=1G,shared=on", "id=b,size=1G"],
            "\"a\" and \"b\" differ in shared, hugepages",
        ),
        (
            &["id=a,size=1G,hotplugged_size=1G"],
            "zone \"a\": hotplugged_size without a hotplug_size",
        ),
        (&["id=a,size=1G,hotplug_size=1G"], "hotplug_method is Acpi"),
        (
            &["id=a,size=1G,hotplug_size=1G", "id=b,size=1G,hotplug_size=1G"],
            "both have a hotplug_size",
        ),
        (&["id=a,size=4M", "id=b,size=4M"], "memory: 8MiB are too little"),
        (&["id=a,size=16777215T", "id=b,size=16777215T"], "are too much"),
        (
            &[
                "id=a,size=32M,hugepages=on,hugepage_size=2M",
                "id=b,size=33M,hugepages=on,hugepage_size=2M",
            ],
            "zone \"b\": 33MiB are no whole number of 2MiB pages",
        ),
    ] {
        let error = vm(zones, &[]).validate().expect_err(part).to_string();
        assert!(error.starts_with("memory: ") && error.contains(part), "{zones:?}: {error}");
    }
    let mut config = vm(&["id=a,size=1G"], &[]);
    config.memory.size = 1 << 30;
    let error = config.validate().expect_err("sizes twice").to_string();
    assert!(error.contains("size 1GiB beside zones: with zones it is 0"), "{error}");
    config.memory.size = 0;
    config.memory.shared = true;
    let error = config.validate().expect_err("kinds twice").to_string();
    assert!(error.contains("shared beside zones"), "{error}");
}

#[test]
fn options_of_zones_that_do_not_exist_say_so() {
    for (text, part) in [
        ("size=1G", "id= is missing"),
        ("id=a", "size= is missing"),
        (
            "id=a,size=1G,file=/dev/shm/a",
            "file=\"/dev/shm/a\" asks for something that is not supported",
        ),
        ("id=a,size=1G,host_numa_node=0", "host_numa_node=\"0\" asks for something"),
        ("id=a,size=1G,mergeable=on", "mergeable=\"on\" asks for something"),
        ("id=a,size=1G,huge=on", "unknown key \"huge\""),
    ] {
        let error = text.parse::<MemoryZoneConfig>().expect_err(text).to_string();
        assert!(error.starts_with("--memory-zone: ") && error.contains(part), "{text}: {error}");
    }
    for (text, part) in [
        (r#"{"memory": {"zones": [{"id": "a"}]}}"#, "memory.zones[0]\": missing field `size`"),
        (r#"{"memory": {"zones": [{"idd": "a"}]}}"#, "unknown field \"memory.zones[0].idd\""),
        (
            r#"{"memory": {"zones": [{"id": "a", "size": 1, "file": "f"}]}}"#,
            "zones[0].file\" asks for",
        ),
        (r#"{"memory": {"zones": {}}}"#, "\"memory.zones\" must be a JSON array, not an object"),
        (r#"{"numa": [{"cpus": [0]}]}"#, "numa[0]\": missing field `guest_numa_id`"),
        (r#"{"numa": [{"guest_numa_id": 0, "device_id": "x"}]}"#, "numa[0].device_id\" asks for"),
        (
            r#"{"numa": [{"guest_numa_id": 0, "distances": [{"destination": 1}]}]}"#,
            "missing field `distance`",
        ),
    ] {
        let error = VmConfig::from_json(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn nodes_that_make_no_vm() {
    const A: &str = "guest_numa_id=0,cpus=[0-1],memory_zones=[a]";
    const B: &str = "guest_numa_id=1,cpus=[2-3],memory_zones=[b]";
    const NEAR: &str = "guest_numa_id=0,cpus=[0-1],memory_zones=[a],distances=[1@20]";
    for (nodes, part) in [
        ([A, A], "numa[1]: guest_numa_id 0 is given more than once"),
        ([A, "guest_numa_id=65536,cpus=[2-3],memory_zones=[b]"], "65536: at most 65535"),
        ([A, "guest_numa_id=1"], "numa[1]: node 1 has neither vCPUs nor memory"),
        ([A, "guest_numa_id=1,cpus=[2-4],memory_zones=[b]"], "vCPU 4 of node 1: the last one is 3"),
        (
            [A, "guest_numa_id=1,cpus=[1-3],memory_zones=[b]"],
            "numa[1]: vCPU 1 is in node 0 and in node 1",
        ),
        (
            [A, "guest_numa_id=1,cpus=[2],memory_zones=[b]"],
            "vCPU 3 is in no node; with nodes each of the 4",
        ),
        (
            [A, "guest_numa_id=1,cpus=[2-3],memory_zones=[c]"],
            "the zone \"c\", which is not there; there are \"a\", \"b\"",
        ),
        (
            [A, "guest_numa_id=1,cpus=[2-3],memory_zones=[a,b]"],
            "zone \"a\" is in node 0 and in node 1",
        ),
        (
            [A, "guest_numa_id=1,cpus=[2-3],memory_zones=[b,b]"],
            "zone \"b\" is in node 1 and in node 1",
        ),
        ([A, "guest_numa_id=1,cpus=[2-3]"], "numa: memory zone \"b\" is in no node"),
        (
            [A, "guest_numa_id=1,cpus=[2-3],memory_zones=[b],pci_segments=[1]"],
            "PCI segment 1 of node 1: there is only 0",
        ),
        ([NEAR, B], "numa[1]: the distance from node 1 to node 0 is missing; give all or none"),
        (
            [NEAR, "guest_numa_id=1,cpus=[2-3],memory_zones=[b],distances=[0@9]"],
            "distance 9 to node 0",
        ),
        (
            [NEAR, "guest_numa_id=1,cpus=[2-3],memory_zones=[b],distances=[0@10]"],
            "distance 10 to node 0",
        ),
        (
            [NEAR, "guest_numa_id=1,cpus=[2-3],memory_zones=[b],distances=[1@11,0@20]"],
            "11 of node 1 to itself",
        ),
        (
            [NEAR, "guest_numa_id=1,cpus=[2-3],memory_zones=[b],distances=[0@20,0@21]"],
            "more than once",
        ),
        (
            [NEAR, "guest_numa_id=1,cpus=[2-3],memory_zones=[b],distances=[2@20]"],
            "node 2, which is not there",
        ),
        (
            [
                "guest_numa_id=0,cpus=[0-1],memory_zones=[a],distances=[2@20]",
                "guest_numa_id=2,cpus=[2-3],memory_zones=[b],distances=[0@20]",
            ],
            "numa: there is no node 1: with distances, 2 nodes are numbered 0 to 1",
        ),
    ] {
        let config = vm(&["id=a,size=256M", "id=b,size=256M"], &nodes);
        let error = config.validate().expect_err(part).to_string();
        assert!(error.contains(part), "{nodes:?}: {error}");
    }
    let sparse = "guest_numa_id=9,cpus=[2-3],memory_zones=[b]";
    vm(&["id=a,size=256M", "id=b,size=256M"], &[A, sparse])
        .validate()
        .expect("no table of distances");
    let itself = "guest_numa_id=1,cpus=[2-3],memory_zones=[b],distances=[1@10,0@255]";
    vm(&["id=a,size=256M", "id=b,size=256M"], &[NEAR, itself])
        .validate()
        .expect("10 is what it is");
    let many: Vec<String> = (0..65).map(|id| format!("guest_numa_id={id},cpus=[0]")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = vm(&[], &many).validate().expect_err("too many").to_string();
    assert_eq!(error, "numa: 65 nodes; at most 64");
}

prop_compose! {
    fn any_zone()(
        id in "[\\PC]{1,20}",
        size: u64,
        [shared, hugepages, prefault]: [bool; 3],
        [hugepage_size, hotplug_size, hotplugged_size]: [Option<u64>; 3],
    ) -> MemoryZoneConfig {
        MemoryZoneConfig {
            id, size, shared, hugepages, hugepage_size, prefault, hotplug_size, hotplugged_size,
        }
    }
}

prop_compose! {
    fn any_node()(
        guest_numa_id: u32,
        cpus in prop::collection::vec(0_u32..1024, 0..6),
        distances in prop::collection::vec(any::<(u32, u8)>(), 0..4),
        memory_zones in prop::collection::vec("[\\PC]{1,10}", 0..4),
        pci_segments in prop::collection::vec(any::<u16>(), 0..3),
    ) -> NumaConfig {
        let distances = distances.into_iter();
        let distances =
            distances.map(|(destination, distance)| NumaDistance { destination, distance }).collect();
        NumaConfig { guest_numa_id, cpus, distances, memory_zones, pci_segments }
    }
}

proptest! {
    #[test]
    fn zones_and_nodes_print_and_parse(zone in any_zone(), node in any_node()) {
        prop_assert_eq!(zone.to_string().parse(), Ok(zone));
        prop_assert_eq!(node.to_string().parse(), Ok(node));
    }

    #[test]
    fn json_prints_and_parses_and_no_nonsense_panics(
        zones in prop::collection::vec(any_zone(), 0..4),
        numa in prop::collection::vec(any_node(), 0..4),
        noise: String,
    ) {
        let mut config = VmConfig { numa, ..VmConfig::default() };
        config.memory.zones = zones;
        let text = serde_json::to_vec(&config).expect("serialisable");
        prop_assert_eq!(VmConfig::from_json(&text), Ok(config.clone()));
        let _ = (config.validate(), config.memory.whole().hotplug(), config.memory.boot_size());
        let _ = (noise.parse::<MemoryZoneConfig>(), noise.parse::<NumaConfig>());
    }
}
