//! Configurations at random: what is printed is read back, and no text panics.
use std::path::PathBuf;

use proptest::prelude::*;
use vmm::config::{
    ConsoleConfig, ConsoleMode, CpuAffinity, CpuTopology, CpusConfig, HotplugMethod, MemoryConfig,
    VmConfig,
};

fn any_cpus() -> impl Strategy<Value = CpusConfig> {
    let topology = any::<[u16; 4]>().prop_map(|[a, b, c, d]| CpuTopology {
        threads_per_core: a,
        cores_per_die: b,
        dies_per_package: c,
        packages: d,
    });
    let affinity = (any::<u32>(), prop::collection::vec(0_usize..1024, 0..6))
        .prop_map(|(vcpu, host_cpus)| CpuAffinity { vcpu, host_cpus });
    (any::<u32>(), any::<u32>(), prop::option::of(topology), prop::collection::vec(affinity, 0..4))
        .prop_map(|(boot_vcpus, max_vcpus, topology, affinity)| CpusConfig {
            boot_vcpus,
            max_vcpus,
            topology,
            affinity,
        })
}

fn any_memory() -> impl Strategy<Value = MemoryConfig> {
    let method = prop::sample::select(vec![HotplugMethod::Acpi, HotplugMethod::VirtioMem]);
    let sizes = any::<[Option<u64>; 3]>();
    (any::<u64>(), any::<[bool; 4]>(), sizes, method).prop_map(
        |(size, [shared, hugepages, prefault, thp], sizes, hotplug_method)| MemoryConfig {
            size,
            shared,
            hugepages,
            hugepage_size: sizes[0],
            prefault,
            thp,
            hotplug_method,
            hotplug_size: sizes[1],
            hotplugged_size: sizes[2],
            zones: Vec::new(),
        },
    )
}

fn any_console() -> impl Strategy<Value = ConsoleConfig> {
    let path = || "[\\PC]{1,40}".prop_map(|path| Some(PathBuf::from(path)));
    prop_oneof![
        Just(ConsoleConfig::of_mode(ConsoleMode::Off)),
        Just(ConsoleConfig::of_mode(ConsoleMode::Null)),
        Just(ConsoleConfig::of_mode(ConsoleMode::Tty)),
        Just(ConsoleConfig::of_mode(ConsoleMode::Pty)),
        path().prop_map(|file| ConsoleConfig {
            mode: ConsoleMode::File,
            file,
            socket: None,
            id: None
        }),
        path().prop_map(|socket| ConsoleConfig {
            mode: ConsoleMode::Socket,
            file: None,
            socket,
            id: None
        }),
    ]
}

/// Text made of the grammar's own parts, which gets deeper into the parsers than noise does.
fn grammar_soup() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "boot",
        "max",
        "topology",
        "affinity",
        "size",
        "shared",
        "file",
        "socket",
        "tty",
        "=",
        ",",
        "[",
        "]",
        "@",
        "-",
        ":",
        "\"",
        "0",
        "1",
        "9999999999999999999999",
        "on",
        "off",
        "K",
        "G",
        "é",
        " ",
        "nested",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn cpus_print_and_parse(config in any_cpus()) {
        prop_assert_eq!(config.to_string().parse(), Ok(config));
    }

    #[test]
    fn memory_prints_and_parses(config in any_memory()) {
        prop_assert_eq!(config.to_string().parse(), Ok(config));
    }

    #[test]
    fn consoles_print_and_parse(config in any_console()) {
        prop_assert_eq!(ConsoleConfig::parse_serial(&config.to_string()), Ok(config));
    }

    #[test]
    fn json_prints_and_parses(
        cpus in any_cpus(),
        memory in any_memory(),
        serial in any_console(),
        console in any_console(),
    ) {
        let config = VmConfig { cpus, memory, serial, console, ..VmConfig::default() };
        let text = serde_json::to_vec(&config).expect("serialisable");
        prop_assert_eq!(VmConfig::from_json(&text), Ok(config.clone()));
        let _ = config.validate();
    }

    #[test]
    fn no_text_panics(noise: String, soup in grammar_soup(), bytes: Vec<u8>) {
        for text in [&noise, &soup] {
            let _ = (text.parse::<CpusConfig>(), text.parse::<MemoryConfig>());
            let _ = (ConsoleConfig::parse_serial(text), VmConfig::from_json(text.as_bytes()));
        }
        let _ = VmConfig::from_json(&bytes);
    }
}
