//! Guest RAM against the real host: mappings, limits, errors.

use std::time::Instant;

use vm_memory::Bytes;

use super::*;
use crate::config::HotplugMethod;

const BITS: u8 = 46;

fn config(size: u64) -> MemoryConfig {
    MemoryConfig { size, ..MemoryConfig::default() }
}

#[test]
fn regions_lie_around_the_hole_and_follow_each_other_in_the_memfd() {
    let ram = GuestRam::new(&config(4 << 30), BITS).unwrap();

    let regions: Vec<_> = ram.regions().collect();

    assert_eq!(regions.len(), 2);
    assert_eq!((regions[0].gpa.0, regions[0].size, regions[0].file_offset), (0, 3 << 30, 0));
    assert_eq!(
        (regions[1].gpa.0, regions[1].size, regions[1].file_offset),
        (4 << 30, 1 << 30, 3 << 30)
    );
    assert!(regions.iter().all(|region| region.host_address.is_multiple_of(4096)));
    assert_eq!((ram.size(), ram.low_size()), (4 << 30, 3 << 30));
}

#[test]
fn what_is_written_is_in_the_memfd_and_gone_after_discard() {
    use std::os::unix::fs::FileExt;
    let ram = GuestRam::new(&config(2 << 20), BITS).unwrap();
    let address = GuestAddress(0x1234);
    ram.memory().write_obj(0xDEAD_BEEF_u32, address).unwrap();

    let file = File::from(ram.memfd().unwrap().try_clone_to_owned().unwrap());
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 0x1234).unwrap();
    assert_eq!(u32::from_ne_bytes(bytes), 0xDEAD_BEEF);

    ram.discard().unwrap();
    assert_eq!(ram.memory().read_obj::<u32>(address).unwrap(), 0);
}

#[test]
fn the_memfd_cannot_be_truncated_under_the_mapping() {
    let ram = GuestRam::new(&config(2 << 20), BITS).unwrap();
    assert_eq!(rustix::fs::ftruncate(ram.memfd().unwrap(), 4096), Err(Errno::PERM));
}

#[test]
fn only_shared_ram_gives_its_memfd_away() {
    let private = GuestRam::new(&config(1 << 20), BITS).unwrap();
    let shared = GuestRam::new(&MemoryConfig { shared: true, ..config(1 << 20) }, BITS).unwrap();
    assert!(private.shareable_memfd().is_none());
    assert!(shared.shareable_memfd().is_some());
}

#[test]
fn prefault_brings_every_page_in() {
    let ram = GuestRam::new(&MemoryConfig { prefault: true, ..config(8 << 20) }, BITS).unwrap();
    let stat = rustix::fs::fstat(ram.memfd().unwrap()).unwrap();
    // st_blocks counts 512 bytes each: a memfd has blocks for the pages that were faulted in.
    assert_eq!(stat.st_blocks * 512, 8 << 20);
}

#[test]
fn without_prefault_no_page_is_taken() {
    let ram = GuestRam::new(&config(512 << 20), BITS).unwrap();
    assert_eq!(rustix::fs::fstat(ram.memfd().unwrap()).unwrap().st_blocks, 0);
}

#[test]
fn bad_sizes_are_refused_with_the_reason() {
    let cases = [
        (config(0), "memory size is 0"),
        (config(4097), "not a multiple of the page size"),
        (config(u64::MAX - 4095), "too big"),
        (config(1 << 46), "46 physical address bits, enough for 70367670435840 bytes"),
        (
            MemoryConfig { hugepage_size: Some(2 << 20), ..config(4 << 20) },
            "hugepage_size=2097152 needs hugepages=on",
        ),
        (
            MemoryConfig { hugepages: true, hugepage_size: Some(12345), ..config(4 << 20) },
            "no huge pages of 12345 bytes",
        ),
    ];
    for (config, expected) in cases {
        let message = GuestRam::new(&config, BITS).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
}

#[test]
fn ram_may_reach_the_last_address_bit() {
    assert!(check(&config(63 << 30), 36).is_ok());
    assert!(matches!(
        check(&config((63 << 30) + 4096), 36),
        Err(MemoryError::TooBig { bits: 36, .. })
    ));
}

#[test]
fn huge_pages_are_taken_or_their_lack_is_told() {
    let Some(page) = hugepages::default_size() else {
        eprintln!("left out: this host has no huge pages");
        return;
    };
    let one = MemoryConfig { hugepages: true, ..config(page) };
    match GuestRam::new(&one, BITS) {
        Ok(ram) => assert_eq!(ram.size(), page),
        Err(error) => {
            assert!(matches!(error, MemoryError::TooFewHugePages { needed: 1, .. }), "{error}");
        }
    }
    let uneven = MemoryConfig { hugepages: true, ..config(page + 4096) };
    assert!(matches!(GuestRam::new(&uneven, BITS), Err(MemoryError::UnalignedHuge { .. })));
}

/// Prints; no assertion on time in a unit test. Run with `--nocapture` to see it.
#[test]
fn making_half_a_gibibyte_touches_nothing() {
    let start = Instant::now();
    let ram = GuestRam::new(&MemoryConfig::default(), BITS).unwrap();
    eprintln!("512 MiB of RAM made in {:?}", start.elapsed());
    assert_eq!(ram.regions().map(|region| region.size).sum::<u64>(), 512 << 20);
}

fn hot(size: u64, hotplug_size: u64) -> MemoryConfig {
    MemoryConfig {
        hotplug_method: HotplugMethod::VirtioMem,
        hotplug_size: Some(hotplug_size),
        ..config(size)
    }
}

#[test]
fn what_may_be_plugged_is_the_last_region_and_costs_nothing() {
    let ram = GuestRam::new(&hot(64 << 20, 8 << 30), BITS).unwrap();
    let region = ram.regions().last().unwrap();
    assert_eq!((region.gpa, region.size), (GuestAddress(4 << 30), 8 << 30));
    assert_eq!(region.file_offset, 64 << 20);
    assert_eq!(ram.hot_region(), Some((GuestAddress(4 << 30), 8 << 30)));
    assert_eq!((ram.size(), ram.end()), (64 << 20, 12 << 30));
    assert_eq!(rustix::fs::fstat(ram.memfd().unwrap()).unwrap().st_blocks, 0);
    assert_eq!(GuestRam::new(&config(64 << 20), BITS).unwrap().hot_region(), None);
}

#[test]
fn hot_pages_come_when_touched_or_with_prefault_when_plugged_and_go_back() {
    let taken = |ram: &GuestRam| rustix::fs::fstat(ram.memfd().unwrap()).unwrap().st_blocks * 512;
    let block = GuestAddress((4 << 30) + (2 << 20));
    for prefault in [false, true] {
        let config = MemoryConfig { prefault, ..hot(16 << 20, 128 << 20) };
        let ram = GuestRam::new(&config, BITS).unwrap();
        let before = taken(&ram);
        assert_eq!(before, if prefault { 16 << 20 } else { 0 }, "only the RAM is faulted in");
        ram.memory().write_obj(0xAA_u8, block).unwrap();

        ram.renew_range(block, 4 << 20).unwrap();

        assert_eq!(ram.memory().read_obj::<u8>(block).unwrap(), 0, "whatever was there");
        ram.memory().write_obj(0xBB_u8, block).unwrap();
        if prefault {
            assert_eq!(taken(&ram), before + (4 << 20));
        }
        ram.discard_range(block, 4 << 20).unwrap();
        assert_eq!(taken(&ram), before);
        let end = GuestAddress((4 << 30) + (127 << 20));
        assert!(ram.renew_range(end, 2 << 20).is_err(), "half of it is no RAM");
    }
}

#[test]
fn what_may_be_plugged_has_to_be_addressable() {
    assert!(check(&hot(1 << 30, 60 << 30), 36).is_ok());
    let error = check(&hot(1 << 30, 61 << 30), 36).unwrap_err().to_string();
    assert!(error.contains("hotplug_size 65498251264 is too much") && error.contains("36 phys"));
    assert!(check(&hot(1 << 30, u64::MAX - 4095), 46).is_err());
}
