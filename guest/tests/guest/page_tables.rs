//! The page tables, walked as the processor walks them.

use crate::loaded::{Loaded, load};
use stillpoint_guest::{layout, line_address};

/// What a walk finds.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    gpa: u64,
    writable: bool,
    user: bool,
}

fn walk(loaded: &Loaded, address: u64) -> Option<Mapping> {
    let (mut table, mut writable, mut user) = (layout::PML4, true, true);
    for shift in [39, 30, 21, 12] {
        let entry = loaded.word(table + (address >> shift & 511) * 8);
        if entry & 1 == 0 {
            return None;
        }
        writable &= entry & 2 != 0;
        user &= entry & 4 != 0;
        assert_ne!(entry & 1 << 5, 0, "accessed is preset at {address:#x}");
        let large = shift == 21 && entry & 1 << 7 != 0;
        if large || shift == 12 {
            assert_ne!(entry & 1 << 6, 0, "dirty is preset at {address:#x}");
            let offset = (1 << shift) - 1;
            let gpa = entry & 0x000F_FFFF_FFFF_F000 & !offset | address & offset;
            return Some(Mapping { gpa, writable, user });
        }
        table = entry & 0x000F_FFFF_FFFF_F000;
    }
    None
}

#[test]
fn all_memory_of_the_guest_is_identity_mapped_with_the_right_rights() {
    let loaded = load();
    let lines = line_address(0)..line_address(layout::MAX_VCPUS);
    for page in (0x1000..layout::MEMORY_END).step_by(0x1000) {
        let image = (layout::IMAGE_BASE..layout::IMAGE_LIMIT).contains(&page);
        let user = page == layout::USER_CODE || lines.contains(&page);
        let expected = Mapping { gpa: page, writable: !image, user };
        assert_eq!(walk(&loaded, page), Some(expected));
    }
}

#[test]
fn the_devices_are_mapped_and_only_the_hole_is_open_to_cpl_3() {
    let loaded = load();
    for (address, user) in [(layout::MMIO_HOLE, true), (layout::IO_APIC, false)] {
        let expected = Mapping { gpa: address, writable: true, user };
        assert_eq!(walk(&loaded, address), Some(expected));
    }
}

#[test]
fn nothing_else_is_mapped() {
    let loaded = load();
    let hole_end = layout::MMIO_HOLE + (2 << 20);
    let apic_end = layout::IO_APIC + (2 << 20);
    let elsewhere =
        [0, layout::MEMORY_END, layout::UNMAPPED, 1 << 30, hole_end, apic_end, 1 << 32, 1 << 39];
    for address in elsewhere {
        assert_eq!(walk(&loaded, address), None, "{address:#x}");
    }
}
