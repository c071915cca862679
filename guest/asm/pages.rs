//! The page tables (Intel SDM vol. 3, 4.5): identity-mapped, and nothing mapped that is not used.
//!
//! The accessed and dirty bits are set from the start, so the processor has no reason to write here.

use super::Idle;
use crate::driver;
use crate::layout::{
    IDT, IMAGE_BASE, IMAGE_LIMIT, IO_APIC, LINE_SIZE, LINES, MAX_VCPUS, MEMORY_END, MMIO_HOLE,
    PD_LOW, PD_MMIO, PDPT, PML4, PT_LOW, TRAMPOLINE_IMAGE, USER_CODE,
};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const UNCACHED: u64 = 1 << 3 | 1 << 4; // PWT and PCD
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;

const SMALL_PAGE: u64 = 1 << 12;
const LARGE_PAGE: u64 = 1 << 21;
const GIB: u64 = 1 << 30;

/// Every level above the last one leaves the decision to the last one.
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;
const LEAF: u64 = PRESENT | ACCESSED | DIRTY;

/// The five tables, in the order of their addresses. The driver program reaches its own memory, all of PCI,
/// and by a table of its own what may be plugged.
pub fn tables(idle: Idle) -> Vec<u8> {
    let driver = idle == Idle::Driver;
    let pml4 = table(|index| if index == 0 { PDPT | TABLE } else { 0 });
    let pdpt = table(|index| match index * GIB {
        0 => PD_LOW | TABLE,
        MMIO_GIB => PD_MMIO | TABLE,
        driver::HOT if driver => driver::HOT_TABLE | TABLE,
        _ => 0,
    });
    let pd_low = table(|index| match index * LARGE_PAGE {
        0 => PT_LOW | TABLE,
        page if page < MEMORY_END => page | LEAF | LARGE | WRITABLE,
        page if driver && (driver::CODE..driver::MEMORY_END).contains(&page) => {
            page | LEAF | LARGE | WRITABLE | USER
        }
        _ => 0,
    });
    let pd_mmio = table(|index| match MMIO_GIB + index * LARGE_PAGE {
        MMIO_HOLE => MMIO_HOLE | LEAF | LARGE | WRITABLE | UNCACHED | USER,
        page if driver && (driver::PCI_START..driver::PCI_END).contains(&page) => {
            page | LEAF | LARGE | WRITABLE | UNCACHED | USER
        }
        IO_APIC => IO_APIC | LEAF | LARGE | WRITABLE | UNCACHED,
        _ => 0,
    });
    let pt_low = table(|index| low_page(index * SMALL_PAGE));
    [pml4, pdpt, pd_low, pd_mmio, pt_low].concat()
}

/// The table of the driver's memory that may be plugged.
pub fn hot() -> Vec<u8> {
    table(|index| (driver::HOT + index * LARGE_PAGE) | LEAF | LARGE | WRITABLE | USER)
}

const MMIO_GIB: u64 = MMIO_HOLE / GIB * GIB;
const _: () = assert!(IO_APIC / GIB * GIB == MMIO_GIB);
const _: () = assert!(MMIO_HOLE.is_multiple_of(LARGE_PAGE) && IO_APIC.is_multiple_of(LARGE_PAGE));
const _: () = assert!(driver::CODE.is_multiple_of(LARGE_PAGE) && driver::CODE >= MEMORY_END);
const _: () = assert!(driver::PCI_START / GIB * GIB == MMIO_GIB);
const _: () = assert!(driver::HOT.is_multiple_of(GIB) && driver::HOT_SIZE == GIB);
const _: () = assert!(PML4 == IMAGE_BASE && PT_LOW + SMALL_PAGE == USER_CODE);
const _: () = assert!(TRAMPOLINE_IMAGE < IDT);

/// A page of the first 2 MiB: page 0 stays unmapped, the loops and their counters belong to CPL 3,
/// the rest of the image is read-only (CR0.WP), everything else is the kernel's.
fn low_page(page: u64) -> u64 {
    let lines = LINES..LINES + LINE_SIZE * u64::from(MAX_VCPUS);
    match page {
        0 => 0,
        USER_CODE => page | LEAF | USER,
        _ if lines.contains(&page) => page | LEAF | WRITABLE | USER,
        _ if (IMAGE_BASE..IMAGE_LIMIT).contains(&page) => page | LEAF,
        _ => page | LEAF | WRITABLE,
    }
}

fn table(entry: impl Fn(u64) -> u64) -> Vec<u8> {
    (0..512).flat_map(|index| entry(index).to_le_bytes()).collect()
}
