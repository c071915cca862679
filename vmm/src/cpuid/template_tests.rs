//! CPUID tables over hand-made processors: an Intel one and an AMD one.

use core::arch::x86_64::CpuidResult;

use proptest::prelude::*;

use super::*;
use crate::config::{CpuTopology, CpusConfig};

fn entry(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { eax, ebx, ecx, edx, ..leaves::indexed(function, index) }
}

fn vendor(name: &[u8; 12], max: u32) -> kvm_cpuid_entry2 {
    let word = |i: usize| u32::from_le_bytes([name[i], name[i + 1], name[i + 2], name[i + 3]]);
    entry(0, 0, [max, word(0), word(8), word(4)])
}

/// Leaf 4: L1 data, L1 instruction, L2, L3, the last shared by 64 on the host.
fn intel() -> CpuId {
    CpuId::from_entries(&[
        vendor(b"GenuineIntel", 0x1F),
        entry(1, 0, [0x606A6, 0x1234_0800, 1 << 24, 0]),
        entry(4, 0, [0x1C00_4121, 1, 2, 3]),
        entry(4, 1, [0x1C00_4122, 1, 2, 3]),
        entry(4, 2, [0x1C00_4143, 1, 2, 3]),
        entry(4, 3, [0x1C0F_C163, 1, 2, 3]),
        entry(4, 4, [0; 4]),
        entry(0xB, 0, [1, 2, 0x100, 99]),
        entry(0x4000_0001, 0, [0x0100_7EFB, 0, 0, 0]),
        entry(0x8000_0008, 0, [0x3039, 0, 0, 0]),
    ])
    .unwrap()
}

fn amd() -> CpuId {
    CpuId::from_entries(&[
        vendor(b"AuthenticAMD", 0x10),
        entry(1, 0, [0x80_0F12, 0x800, 0, 0]),
        entry(0x4000_0001, 0, [0x0100_7EFB, 0, 0, 0]),
        entry(0x8000_0000, 0, [0x8000_001A, 0, 0, 0]),
        entry(0x8000_0001, 0, [0, 0, 0, 0]),
        entry(0x8000_0008, 0, [0x3030, 0, 0x6007, 0]),
        entry(0x8000_001D, 0, [0; 4]),
        entry(0x8000_0026, 0, [1, 2, 3, 4]),
    ])
    .unwrap()
}

/// The caches of an AMD host: two first levels, a second, a third shared by 8.
fn amd_host(leaf: u32, index: u32) -> CpuidResult {
    assert_eq!(leaf, 0x8000_001D);
    let eax = [0x4121, 0x4122, 0x4143, 0x1_C163, 0][index as usize];
    CpuidResult { eax, ebx: 0x01C0_003F, ecx: 63, edx: 0 }
}

fn topology(levels: [u16; 4]) -> Topology {
    let [threads, cores, dies, packages] = levels;
    let max = levels.iter().map(|&count| u32::from(count)).product();
    let levels = CpuTopology {
        threads_per_core: threads,
        cores_per_die: cores,
        dies_per_package: dies,
        packages,
    };
    let cpus = CpusConfig { max_vcpus: max, topology: Some(levels), ..CpusConfig::default() };
    Topology::new(&cpus).unwrap()
}

fn template(supported: &CpuId, levels: [u16; 4]) -> Template {
    let (deadline, msi) = (TscDeadline::Available, MsiDestination::Bits8);
    Template::with_host(supported, topology(levels), deadline, msi, &amd_host).unwrap()
}

fn leaf(table: &CpuId, leaf: u32, index: u32) -> [u32; 4] {
    let found: Vec<_> = table
        .as_slice()
        .iter()
        .filter(|entry| entry.function == leaf && entry.index == index)
        .collect();
    assert_eq!(found.len(), 1, "leaf {leaf:#x} index {index} must be there once");
    [found[0].eax, found[0].ebx, found[0].ecx, found[0].edx]
}

#[test]
fn leaf_1_tells_apic_id_package_and_virtualisation() {
    let table = template(&intel(), [2, 3, 1, 2]).for_vcpu(6).unwrap();

    let [_, ebx, ecx, edx] = leaf(&table, 1, 0);

    assert_eq!(ebx, 8 << 24 | 8 << 16 | 0x0800);
    assert_eq!(ecx, leaves::ECX_X2APIC | leaves::ECX_TSC_DEADLINE | leaves::ECX_HYPERVISOR);
    assert_eq!(edx, leaves::EDX_HTT);
}

#[test]
fn a_missing_deadline_timer_is_not_promised() {
    let (deadline, msi) = (TscDeadline::Missing, MsiDestination::Bits8);
    let template = Template::new(&intel(), topology([1, 1, 1, 1]), deadline, msi).unwrap();
    let [_, _, ecx, edx] = leaf(&template.for_vcpu(0).unwrap(), 1, 0);
    assert_eq!(ecx, leaves::ECX_X2APIC | leaves::ECX_HYPERVISOR);
    assert_eq!(edx, 0, "one vCPU is no multi-processor package");
}

#[test]
fn extended_topology_replaces_the_hosts() {
    let table = template(&intel(), [2, 3, 1, 2]).for_vcpu(7).unwrap();
    assert_eq!(leaf(&table, 0xB, 0), [1, 2, 0x100, 9]);
    assert_eq!(leaf(&table, 0xB, 1), [3, 6, 0x201, 9]);
    assert_eq!(leaf(&table, 0xB, 2), [0, 0, 2, 9]);
    assert_eq!(leaf(&table, 0x1F, 1), [3, 6, 0x201, 9]);
    assert_eq!(leaf(&table, 0x1F, 2), [0, 0, 2, 9]);
}

#[test]
fn dies_are_told_in_leaf_1f() {
    let table = template(&amd(), [2, 2, 2, 1]).for_vcpu(5).unwrap();
    assert_eq!(leaf(&table, 0, 0)[0], 0x1F, "leaf 0 must reach up to it");
    assert_eq!(leaf(&table, 0x1F, 0), [1, 2, 0x100, 5]);
    assert_eq!(leaf(&table, 0x1F, 1), [2, 4, 0x201, 5]);
    assert_eq!(leaf(&table, 0x1F, 2), [3, 8, 0x502, 5]);
    assert_eq!(leaf(&table, 0x1F, 3), [0, 0, 3, 5]);
}

#[test]
fn without_leaf_1f_nothing_is_said_about_it() {
    let table = template(&amd(), [1, 4, 1, 1]).for_vcpu(0).unwrap();
    assert!(table.as_slice().iter().all(|entry| entry.function != 0x1F));
    assert_eq!(leaf(&table, 0, 0)[0], 0x10);
}

#[test]
fn intel_caches_are_shared_by_core_and_die() {
    let table = template(&intel(), [2, 3, 1, 2]).for_vcpu(0).unwrap();
    let shared = |index| (leaf(&table, 4, index)[0] >> 14) & 0xFFF;
    let cores = |index| leaf(&table, 4, index)[0] >> 26;
    assert_eq!([0, 1, 2, 3].map(shared), [1, 1, 1, 7]);
    assert_eq!([0, 1, 2, 3].map(cores), [3, 3, 3, 3]);
    assert_eq!(leaf(&table, 4, 4), [0; 4]);
    assert_eq!(leaf(&table, 4, 0)[1..], [1, 2, 3], "sizes stay the host's");
}

#[test]
fn amd_caches_come_from_the_host_and_are_shared_by_core_and_die() {
    let table = template(&amd(), [2, 2, 2, 1]).for_vcpu(0).unwrap();
    let shared = |index| (leaf(&table, 0x8000_001D, index)[0] >> 14) & 0xFFF;
    assert_eq!([0, 1, 2, 3].map(shared), [1, 1, 1, 3]);
    assert_eq!(leaf(&table, 0x8000_001D, 4), [0; 4]);
    assert_eq!(leaf(&table, 0x8000_001D, 3)[1], 0x01C0_003F);
}

#[test]
fn amd_topology_is_announced_from_zen_on() {
    let table = template(&amd(), [2, 1, 1, 1]).for_vcpu(0).unwrap();
    assert_eq!(leaf(&table, 0x8000_0000, 0)[0], 0x8000_001E);
    assert_ne!(leaf(&table, 0x8000_0001, 0)[2] & leaves::ECX_TOPOEXT, 0);

    let mut before = amd();
    before.as_mut_slice()[1].eax = 0x60_0F12;
    let table = template(&before, [2, 1, 1, 1]).for_vcpu(0).unwrap();
    assert_eq!(leaf(&table, 0x8000_0001, 0)[2] & leaves::ECX_TOPOEXT, 0);
    assert!(table.as_slice().iter().all(|entry| entry.function != 0x8000_001E));
}

#[test]
fn amd_topology_numbers_cores_and_nodes() {
    let table = template(&amd(), [2, 2, 2, 2]).for_vcpu(14).unwrap();
    // vCPU 14: package 1, die 1, core 1, thread 0: core 3 of its package, node 3.
    assert_eq!(leaf(&table, 0x8000_001E, 0), [14, 1 << 8 | 3, 1 << 8 | 3, 0]);
    assert_eq!(leaf(&table, 0x8000_0008, 0), [0x3030, 0, 3 << 12 | 7, 0]);
    assert_eq!(leaf(&table, 0x8000_0001, 0)[2], leaves::ECX_TOPOEXT | leaves::ECX_CMP_LEGACY);
    assert!(table.as_slice().iter().all(|entry| entry.function != 0x8000_0026));
}

#[test]
fn counts_too_big_for_their_fields_saturate() {
    let table = template(&amd(), [1, 1024, 1, 1]).for_vcpu(1023).unwrap();
    let [_, ebx, ..] = leaf(&table, 1, 0);
    assert_eq!((ebx >> 16 & 0xFF, ebx >> 24), (255, 255));
    assert_eq!(leaf(&table, 0x8000_0008, 0)[2], 10 << 12 | 255);
    assert_eq!(leaf(&table, 0xB, 1), [10, 1024, 0x201, 1023]);
}

#[test]
fn wide_msi_destinations_are_told_only_when_they_work() {
    let make = |msi| {
        let deadline = TscDeadline::Available;
        let template = Template::new(&intel(), topology([1, 300, 1, 1]), deadline, msi).unwrap();
        leaf(&template.for_vcpu(299).unwrap(), 0x4000_0001, 0)[0] & leaves::EAX_MSI_EXT_DEST_ID
    };
    assert_eq!(make(MsiDestination::Bits8), 0);
    assert_eq!(make(MsiDestination::Bits15), leaves::EAX_MSI_EXT_DEST_ID);
}

#[test]
fn paravirtual_leaves_stay() {
    let table = template(&intel(), [1, 1, 1, 1]).for_vcpu(0).unwrap();
    assert_eq!(leaf(&table, 0x4000_0001, 0)[0], 0x0100_7EFB);
}

#[test]
fn a_table_that_is_no_processor_is_refused() {
    let empty = CpuId::new(0).unwrap();
    let (deadline, msi) = (TscDeadline::Missing, MsiDestination::Bits8);
    let error = Template::new(&empty, topology([1; 4]), deadline, msi).unwrap_err();
    assert_eq!(error, CpuidError::MissingLeaf { leaf: 0 });
}

#[test]
fn a_full_table_is_refused() {
    let mut entries = intel().as_slice().to_vec();
    let filler = (0x100..).map(|function| entry(function, 0, [0; 4]));
    entries.extend(filler.take(KVM_MAX_CPUID_ENTRIES - entries.len()));
    let full = CpuId::from_entries(&entries).unwrap();
    let (deadline, msi) = (TscDeadline::Missing, MsiDestination::Bits8);
    let error = Template::new(&full, topology([1; 4]), deadline, msi).unwrap_err();
    assert!(matches!(error, CpuidError::TooManyEntries { .. }), "{error}");
}

#[test]
fn address_bits_are_read_or_assumed() {
    assert_eq!(physical_address_bits(&intel()), 0x39);
    assert_eq!(physical_address_bits(&CpuId::new(0).unwrap()), 36);
}

proptest! {
    /// Whatever KVM says, the leaves that speak of one vCPU's id agree.
    #[test]
    fn every_leaf_tells_the_same_id(
        threads in 1u16..4, cores in 1u16..40, dies in 1u16..4, packages in 1u16..4, pick: u32,
        is_amd: bool,
    ) {
        let levels = [threads, cores, dies, packages];
        let template = template(&if is_amd { amd() } else { intel() }, levels);
        let index = pick % template.topology().vcpus();
        let id = template.topology().apic_id(index).unwrap();
        let table = template.for_vcpu(index).unwrap();
        prop_assert_eq!(leaf(&table, 1, 0)[1] >> 24, id.0 & 0xFF);
        prop_assert_eq!(leaf(&table, 0xB, 0)[3], id.0);
        if is_amd {
            prop_assert_eq!(leaf(&table, 0x8000_001E, 0)[0], id.0);
        }
    }

    #[test]
    fn no_supported_table_panics(
        words in prop::collection::vec((0u32..0x30, 0u32..4, any::<[u32; 4]>()), 0..40),
    ) {
        let entries: Vec<_> = words
            .into_iter()
            .flat_map(|(leaf, index, registers)| {
                [entry(leaf, index, registers), entry(0x8000_0000 + leaf, index, registers)]
            })
            .collect();
        let supported = CpuId::from_entries(&entries).unwrap();
        let (deadline, msi) = (TscDeadline::Available, MsiDestination::Bits15);
        let made =
            Template::with_host(&supported, topology([2, 2, 1, 1]), deadline, msi, &|_, _| {
                CpuidResult { eax: u32::MAX, ebx: 0, ecx: 0, edx: 0 }
            });
        let has = |leaf| leaves::find(&entries, leaf, 0).is_some();
        prop_assert_eq!(made.is_ok(), has(0) && has(1));
    }
}

/// KVM leaves there what the processor tells that it was asked on.
#[test]
fn a_table_does_not_tell_which_processor_was_asked() {
    for vendor in [intel(), amd()] {
        let asked_on = |processor: u32| {
            let mut entries = vendor.as_slice().to_vec();
            for entry in &mut entries {
                match entry.function {
                    leaves::FEATURES => entry.ebx |= processor << 24,
                    leaves::TOPOLOGY_AMD => entry.eax = processor,
                    _ => {}
                }
            }
            let supported = CpuId::from_entries(&entries).unwrap();
            let (deadline, msi) = (TscDeadline::Available, MsiDestination::Bits8);
            let host = |_, _| CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
            Template::with_host(&supported, topology([1, 2, 1, 1]), deadline, msi, &host).unwrap()
        };
        assert_eq!(asked_on(0).entries(), asked_on(1).entries());
        let again = asked_on(3).with_entries(asked_on(5).entries().to_vec()).unwrap();
        assert_eq!(again.entries(), asked_on(0).entries());
        assert_ne!(asked_on(0).for_vcpu(0).unwrap(), asked_on(0).for_vcpu(1).unwrap());
    }
}
