//! The tables as a guest reads them, and as `iasl` judges them.

use std::process::Command;

use super::super::{Domain, MemoryRange, Nodes, Presence, memory_of};
use super::*;
use crate::config::{CpusConfig, MemoryConfig};

pub(super) const WINDOWS: PciWindows =
    PciWindows { low: (3 << 30, 0xF000_0000), high: Some((32 << 30, 64 << 30)) };

pub(super) const ALL: [LegacyDevice; 3] =
    [LegacyDevice::Com1, LegacyDevice::PvPanic, LegacyDevice::Rtc];

const MEMORY: [MemoryRange; 3] = [
    MemoryRange { start: 0, size: 3 << 30, presence: Presence::Always, domain: Domain(0) },
    MemoryRange { start: 4 << 30, size: 1 << 30, presence: Presence::Always, domain: Domain(0) },
    MemoryRange {
        start: 6 << 30,
        size: 8 << 30,
        presence: Presence::HotPluggable,
        domain: Domain(0),
    },
];

fn topology(vcpus: u32) -> Topology {
    let cpus = CpusConfig { boot_vcpus: vcpus, max_vcpus: vcpus, ..CpusConfig::default() };
    Topology::new(&cpus).unwrap()
}

fn tables(vcpus: u32, devices: &[LegacyDevice]) -> Vec<Table> {
    tables_of(vcpus, vcpus, devices)
}

fn tables_of(boot_vcpus: u32, max_vcpus: u32, devices: &[LegacyDevice]) -> Vec<Table> {
    let topology = topology(max_vcpus);
    let platform = Platform {
        topology: &topology,
        boot_vcpus,
        devices,
        pci: WINDOWS,
        memory: &MEMORY,
        nodes: &Nodes::default(),
    };
    build(&platform).unwrap()
}

fn table(tables: &[Table], signature: [u8; 4]) -> &Table {
    tables.iter().find(|table| table.signature == signature).unwrap()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The MADT's structures as (type, bytes).
fn structures(madt: &Table) -> Vec<(u8, &[u8])> {
    let mut rest = &madt.bytes[44..];
    let mut found = Vec::new();
    while let [kind, len, ..] = *rest {
        let (this, next) = rest.split_at(usize::from(len));
        found.push((kind, this));
        rest = next;
    }
    found
}

#[test]
fn every_table_sums_to_zero_and_knows_its_length() {
    for table in tables(300, &ALL) {
        let sum = table.bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(sum, 0, "{}", String::from_utf8_lossy(&table.signature));
        let length = if &table.signature == b"RSD " { 20 } else { 4 };
        assert_eq!(u32_at(&table.bytes, length) as usize, table.bytes.len());
    }
}

#[test]
fn the_chain_of_pointers_holds() {
    let tables = tables(2, &ALL);
    let rsdp = table(&tables, *b"RSD ");
    let xsdt = table(&tables, *b"XSDT");
    let fadt = table(&tables, *b"FACP");

    assert_eq!(u64_at(&rsdp.bytes, 24), xsdt.address.0);
    assert_eq!(u64_at(&xsdt.bytes, 36), fadt.address.0);
    assert_eq!(u64_at(&xsdt.bytes, 44), table(&tables, *b"APIC").address.0);
    assert_eq!(u64_at(&fadt.bytes, 140), table(&tables, *b"DSDT").address.0);
}

#[test]
fn sleep_and_reset_are_byte_wide_ports() {
    let tables = tables(1, &ALL);
    let fadt = &table(&tables, *b"FACP").bytes;
    let gas = |at: usize| (&fadt[at..at + 4], u64_at(fadt, at + 4));
    assert_eq!(gas(116), (&[1, 8, 0, 1][..], 0x602));
    assert_eq!(fadt[128], 1);
    assert_eq!(gas(244), (&[1, 8, 0, 1][..], 0x600));
    assert_eq!(gas(256), (&[1, 8, 0, 1][..], 0x601));
    assert_eq!(u32_at(fadt, 112) >> 20 & 1, 1, "hardware-reduced");
}

#[test]
fn the_power_button_is_a_device_and_not_fixed_hardware() {
    let tables = tables(1, &ALL);
    assert_eq!(
        u32_at(&table(&tables, *b"FACP").bytes, 112) >> 4 & 1,
        1,
        "no button in fixed hardware"
    );
    let dsdt = &table(&tables, *b"DSDT").bytes;
    let has = |what: &[u8]| dsdt.windows(what.len()).any(|window| window == what);
    // The device with PNP0C0C for its id, and in the event device's method a Notify of it with 0x80.
    assert!(has(b"PWRB\x08_HID\x0C\x41\xD0\x0C\x0C"), "{dsdt:x?}");
    assert!(has(b"\x86\\._SB_PWRB\x0A\x80") || has(b"\x86\x5C\x2E_SB_PWRB\x0A\x80"));
}

#[test]
fn a_missing_clock_is_told() {
    let boot_flags = |devices: &[LegacyDevice]| table(&tables(1, devices), *b"FACP").bytes[109];
    assert_eq!(boot_flags(&ALL) & 1 << 5, 0);
    assert_eq!(boot_flags(&[LegacyDevice::Com1]) & 1 << 5, 1 << 5);
}

#[test]
fn few_processors_are_local_apics() {
    let tables = tables(4, &ALL);
    let structures = structures(table(&tables, *b"APIC"));
    let kinds: Vec<u8> = structures.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0, 0, 0, 0, 1, 4]);
    assert_eq!(structures[3].1, [0, 8, 3, 3, 1, 0, 0, 0]);
    assert_eq!(structures[4].1, [1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
}

#[test]
fn processors_from_id_255_on_are_x2apics() {
    let tables = tables(257, &ALL);
    let structures = structures(table(&tables, *b"APIC"));
    let count = |kind| structures.iter().filter(|found| found.0 == kind).count();
    assert_eq!([count(0), count(9), count(1), count(4), count(0xA)], [255, 2, 1, 1, 1]);
    assert_eq!(structures[255].1, [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0]);
    assert_eq!(structures[256].1, [9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn processors_that_may_come_are_online_capable() {
    let tables = tables_of(2, 257, &ALL);
    let structures = structures(table(&tables, *b"APIC"));
    assert_eq!(structures[1].1, [0, 8, 1, 1, 1, 0, 0, 0]);
    assert_eq!(structures[2].1, [0, 8, 2, 2, 2, 0, 0, 0]);
    assert_eq!(structures[256].1, [9, 16, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0]);
}

/// A guest that finds one of these names where it does not belong has no hotplug.
#[test]
fn every_possible_processor_has_a_status_and_all_but_the_first_can_be_ejected() {
    let tables = tables_of(1, 5, &ALL);
    let dsdt = &table(&tables, *b"DSDT").bytes;
    let count = |name: &[u8; 4]| dsdt.windows(4).filter(|found| found == name).count();
    // Each method, and the slots of PCI, which have `_EJ0` only.
    assert_eq!([count(b"_MAT"), count(b"CPST"), count(b"CPEJ")], [5, 6, 5]);
    assert_eq!(count(b"_EJ0"), 31 + 4);
}

/// An entry of a processor that has come says that it is enabled, whatever the table of the start says of it.
#[test]
fn the_entry_that_a_processor_gives_of_itself_is_enabled() {
    let topology = topology(300);
    let entry = |vcpu| madt::entry(vcpu, topology.apic_id(vcpu).unwrap());
    assert_eq!(entry(3), [0, 8, 3, 3, 1, 0, 0, 0]);
    assert_eq!(entry(299), [9, 16, 0, 0, 43, 1, 0, 0, 1, 0, 0, 0, 43, 1, 0, 0]);
}

#[test]
fn memory_that_may_be_plugged_is_told_with_all_that_is_there() {
    let tables = tables(257, &ALL);
    let srat = table(&tables, *b"SRAT");
    assert_eq!((srat.bytes[8], u32_at(&srat.bytes, 36)), (3, 1));
    let mut rest = &srat.bytes[48..];
    let mut found = Vec::new();
    while let [kind, len, ..] = *rest {
        let (this, next) = rest.split_at(usize::from(len));
        found.push((kind, this));
        rest = next;
    }
    let count = |kind| found.iter().filter(|one| one.0 == kind).count();
    assert_eq!([count(0), count(2), count(1)], [255, 2, 3]);
    assert_eq!(found[254].1, [0, 16, 0, 254, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(u32_at(found[256].1, 8), 256);
    let ranges = found[257..].iter().map(|(_, range)| {
        (u32_at(range, 2), u64_at(range, 8), u64_at(range, 16), u32_at(range, 28))
    });
    let expected = [(0, 0, 3 << 30, 1), (0, 4 << 30, 1 << 30, 1), (0, 6 << 30, 8 << 30, 3)];
    assert!(ranges.eq(expected));

    let one = topology(1);
    let fixed = Platform {
        topology: &one,
        boot_vcpus: 1,
        devices: &ALL,
        pci: WINDOWS,
        memory: &[],
        nodes: &Nodes::default(),
    };
    assert!(build(&fixed).unwrap().iter().all(|table| &table.signature != b"SRAT"));
}

#[test]
fn the_ranges_are_those_of_the_ram() {
    use crate::config::HotplugMethod;
    let mut config = MemoryConfig { size: 4 << 30, ..MemoryConfig::default() };
    assert_eq!(memory_of(&GuestRam::new(&config, 40).unwrap(), &Nodes::default()), []);
    config.hotplug_method = HotplugMethod::VirtioMem;
    config.hotplug_size = Some(8 << 30);
    assert_eq!(memory_of(&GuestRam::new(&config, 40).unwrap(), &Nodes::default()), MEMORY);
}

#[test]
fn ids_are_the_topologys() {
    let levels = crate::config::CpuTopology {
        threads_per_core: 2,
        cores_per_die: 3,
        dies_per_package: 1,
        packages: 2,
    };
    let cpus = CpusConfig { max_vcpus: 12, topology: Some(levels), ..CpusConfig::default() };
    let topology = Topology::new(&cpus).unwrap();
    let madt = madt::build(&topology, 12).unwrap();
    let ids: Vec<u8> = (0..12).map(|index| madt[44 + 8 * index + 3]).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
}

#[test]
fn tables_are_written_below_1_mib() {
    let ram = GuestRam::new(&MemoryConfig { size: 2 << 20, ..MemoryConfig::default() }, 40);
    let ram = ram.unwrap();
    let topology = topology(1024);
    let platform = Platform {
        topology: &topology,
        boot_vcpus: 1024,
        devices: &ALL,
        pci: WINDOWS,
        memory: &[],
        nodes: &Nodes::default(),
    };

    let rsdp = write(&ram, &platform).unwrap();

    let mut signature = [0; 8];
    ram.memory().read_slice(&mut signature, rsdp).unwrap();
    assert_eq!(&signature, b"RSD PTR ");
}

#[test]
fn too_many_processors_and_too_little_ram_are_errors() {
    assert_eq!(tables(1024, &ALL).len(), 7, "as many as a VM can have fit");
    let many = topology(4096);
    let platform = Platform {
        topology: &many,
        boot_vcpus: 1,
        devices: &ALL,
        pci: WINDOWS,
        memory: &[],
        nodes: &Nodes::default(),
    };
    assert!(matches!(build(&platform), Err(AcpiError::TooBig { vcpus: 4096, .. })));
    let large = topology(4097);
    let platform = Platform {
        topology: &large,
        boot_vcpus: 4097,
        devices: &ALL,
        pci: WINDOWS,
        memory: &[],
        nodes: &Nodes::default(),
    };
    assert!(matches!(build(&platform), Err(AcpiError::TooMany { vcpus: 4097 })));

    let one = topology(1);
    let beyond = Platform {
        topology: &one,
        boot_vcpus: 2,
        devices: &ALL,
        pci: WINDOWS,
        memory: &[],
        nodes: &Nodes::default(),
    };
    assert!(matches!(build(&beyond), Err(AcpiError::Topology(_))));

    let tiny = GuestRam::new(&MemoryConfig { size: 4096, ..MemoryConfig::default() }, 40).unwrap();
    let platform = Platform {
        topology: &one,
        boot_vcpus: 1,
        devices: &ALL,
        pci: WINDOWS,
        memory: &[],
        nodes: &Nodes::default(),
    };
    assert!(matches!(write(&tiny, &platform), Err(AcpiError::Memory(_))));
}

/// Disassembles every table and compiles it again; neither may complain.
#[test]
fn iasl_accepts_every_table() {
    if Command::new("iasl").arg("-v").output().is_err() {
        eprintln!("left out: iasl is not installed (package acpica-tools)");
        return;
    }
    let mut machines: Vec<_> =
        [(1, 1, &ALL[..1]), (4, 4, &ALL[..]), (2, 8, &ALL[..]), (300, 600, &ALL[..])]
            .map(|(vcpus, max, devices)| (vcpus, tables_of(vcpus, max, devices)))
            .into();
    machines.push((4, super::nodes_tests::tables_with_nodes()));
    for (vcpus, tables) in machines {
        let folder = tempfile::tempdir().unwrap();
        for table in tables {
            // The root pointer is no table: iasl has no compiler for a lone one.
            if &table.signature == b"RSD " {
                continue;
            }
            let name = String::from_utf8(table.signature.to_vec()).unwrap();
            std::fs::write(folder.path().join(format!("{name}.aml")), &table.bytes).unwrap();
            iasl(folder.path(), &["-d", &format!("{name}.aml")]);
            let compiled = iasl(folder.path(), &[&format!("{name}.dsl")]);
            assert!(
                compiled.contains("0 Errors, 0 Warnings, 0 Remarks"),
                "{name} of {vcpus} vCPUs: {compiled}"
            );
        }
    }
}

fn iasl(folder: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("iasl").args(arguments).current_dir(folder).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    let complaint = |line: &&str| {
        let line = line.to_lowercase();
        (line.contains("warning") || line.contains("error") || line.contains("invalid"))
            && !line.contains("0 errors, 0 warnings")
    };
    if let Some(line) = text.lines().find(complaint) {
        panic!("iasl complains: {line}\n{text}");
    }
    text
}
