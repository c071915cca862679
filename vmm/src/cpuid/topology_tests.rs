//! APIC ids: by hand for known machines, by property for all.

use proptest::prelude::*;

use super::*;

fn cpus(max: u32, levels: Option<[u16; 4]>) -> CpusConfig {
    let topology = levels.map(|[threads, cores, dies, packages]| CpuTopology {
        threads_per_core: threads,
        cores_per_die: cores,
        dies_per_package: dies,
        packages,
    });
    CpusConfig { boot_vcpus: 1, max_vcpus: max, topology, affinity: Vec::new() }
}

fn ids(topology: &Topology) -> Vec<u32> {
    (0..topology.vcpus()).map(|index| topology.apic_id(index).unwrap().0).collect()
}

#[test]
fn without_levels_ids_are_indices() {
    let topology = Topology::new(&cpus(1024, None)).unwrap();
    assert_eq!(ids(&topology), (0..1024).collect::<Vec<_>>());
    assert_eq!((topology.core_shift(), topology.package_shift()), (0, 10));
}

#[test]
fn odd_levels_leave_gaps() {
    // Two threads, three cores (two bits), two packages.
    let topology = Topology::new(&cpus(12, Some([2, 3, 1, 2]))).unwrap();
    assert_eq!(ids(&topology), [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
    assert_eq!(topology.max_apic_id(), ApicId(13));
}

#[test]
fn dies_have_a_field_of_their_own() {
    let topology = Topology::new(&cpus(8, Some([1, 2, 2, 2]))).unwrap();
    assert_eq!(ids(&topology), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(topology.place(6).unwrap(), Place { thread: 0, core: 0, die: 1, package: 1 });
    assert_eq!((topology.die_shift(), topology.package_shift()), (1, 2));
}

#[test]
fn ids_from_255_on_have_no_xapic_form() {
    assert_eq!(ApicId(254).xapic(), Some(254));
    assert_eq!(ApicId(255).xapic(), None);
    assert_eq!(ApicId(256).xapic(), None);
}

#[test]
fn bad_configurations_are_refused_with_the_reason() {
    let none = CpusConfig { boot_vcpus: 0, ..cpus(1, None) };
    let below = CpusConfig { boot_vcpus: 4, ..cpus(2, None) };
    let cases = [
        (none, "boot vCPUs: 0"),
        (below, "boot vCPUs: 4, but max is 2"),
        (cpus(4, Some([2, 0, 1, 1])), "cores_per_die is 0"),
        (cpus(4, Some([2, 1, 1, 1])), "multiply to 2, but max vCPUs is 4"),
        (cpus(4, Some([u16::MAX; 4])), "multiply to 18445618199572250625"),
        (cpus(u32::MAX, None), "highest APIC id"),
    ];
    for (config, expected) in cases {
        let message = Topology::new(&config).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
}

#[test]
fn kvm_limits_hold_for_the_count_and_the_ids() {
    let topology = Topology::new(&cpus(12, Some([2, 3, 1, 2]))).unwrap();
    assert_eq!(topology.check_limits(12, 14), Ok(()));
    assert_eq!(topology.check_limits(11, 14), Err(TopologyError::TooMany { max: 12, limit: 11 }));
    assert_eq!(
        topology.check_limits(12, 13),
        Err(TopologyError::ApicIdTooBig { highest: 13, limit: 13 })
    );
}

#[test]
fn a_vcpu_past_the_end_has_no_id() {
    let topology = Topology::new(&cpus(2, None)).unwrap();
    assert_eq!(topology.apic_id(2), Err(TopologyError::NoSuchVcpu { vcpu: 2, max: 2 }));
}

proptest! {
    #[test]
    fn ids_are_unique_rise_and_fit(
        threads in 1u16..5, cores in 1u16..20, dies in 1u16..5, packages in 1u16..5,
    ) {
        let max = u32::from(threads) * u32::from(cores) * u32::from(dies) * u32::from(packages);
        let topology = Topology::new(&cpus(max, Some([threads, cores, dies, packages]))).unwrap();
        let ids = ids(&topology);
        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(ids.last().copied(), Some(topology.max_apic_id().0));
        let bits = topology.package_shift() + width(u32::from(packages));
        prop_assert!(topology.max_apic_id().0 < 1 << bits);
    }

    #[test]
    fn shifting_an_id_gives_its_place(
        threads in 1u16..5, cores in 1u16..20, dies in 1u16..5, packages in 1u16..5, pick: u32,
    ) {
        let max = u32::from(threads) * u32::from(cores) * u32::from(dies) * u32::from(packages);
        let topology = Topology::new(&cpus(max, Some([threads, cores, dies, packages]))).unwrap();
        let index = pick % max;
        let id = topology.apic_id(index).unwrap().0;
        let place = topology.place(index).unwrap();
        prop_assert_eq!(id >> topology.package_shift(), place.package);
        prop_assert_eq!(id & ((1 << topology.core_shift()) - 1), place.thread);
        let core = (id & ((1 << topology.die_shift()) - 1)) >> topology.core_shift();
        prop_assert_eq!(core, place.core);
    }

    #[test]
    fn no_configuration_panics(
        boot: u32, max: u32, threads: u16, cores: u16, dies: u16, packages: u16, with: bool,
    ) {
        let levels = with.then_some([threads, cores, dies, packages]);
        let config = CpusConfig { boot_vcpus: boot, ..cpus(max, levels) };
        if let Ok(topology) = Topology::new(&config) {
            prop_assert_eq!(topology.vcpus(), max);
            prop_assert!(topology.apic_id(max - 1).is_ok());
        }
    }
}
