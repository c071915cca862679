//! The processor's tables for the 64-bit entry: a GDT, and page tables that map the low 4 GiB
//! to themselves (Intel SDM volume 3, 3.4.5 and 4.5; the boot protocol asks for both).

use kvm_bindings::kvm_segment;
use vm_memory::Bytes;

use super::{BootError, layout};
use crate::memory::GuestRam;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const ENTRIES: u64 = 512;

/// Selectors that the boot protocol prescribes: `__BOOT_CS` and `__BOOT_DS`; and the next one.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// Which code segment the first instruction runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeSegment {
    Bits32,
    Bits64,
}

/// Highest byte of the GDT.
pub(super) const GDT_LIMIT: u16 = 6 * 8 - 1;

pub(super) fn code_segment(bits: CodeSegment) -> kvm_segment {
    let long = u8::from(bits == CodeSegment::Bits64);
    // Execute, read, accessed. D and L exclude each other.
    kvm_segment { l: long, db: 1 - long, ..segment(CODE, 0xB) }
}

pub(super) fn data_segment() -> kvm_segment {
    // Read, write, accessed.
    kvm_segment { db: 1, ..segment(DATA, 0x3) }
}

/// A busy task state segment: the processor must have one, nobody uses it.
pub(super) fn task_segment() -> kvm_segment {
    kvm_segment { limit: 0x67, g: 0, s: 0, ..segment(TASK, 0xB) }
}

fn segment(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        limit: 0xFFFF_FFFF,
        selector,
        type_,
        present: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    }
}

/// A flat descriptor of the GDT for a segment with base 0.
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 { segment.limit >> 12 } else { segment.limit });
    let access = u64::from(segment.type_)
        | u64::from(segment.s) << 4
        | u64::from(segment.dpl) << 5
        | u64::from(segment.present) << 7;
    let flags = u64::from(segment.l) << 1 | u64::from(segment.db) << 2 | u64::from(segment.g) << 3;
    limit & 0xFFFF | access << 40 | (limit >> 16) << 48 | flags << 52
}

/// Writes the GDT: two empty descriptors, code, data, and the task segment's two.
pub(super) fn write_gdt(ram: &GuestRam, bits: CodeSegment) -> Result<(), BootError> {
    let segments = [code_segment(bits), data_segment(), task_segment()];
    let [code, data, task] = segments.map(|segment| descriptor(&segment));
    let gdt = [0, 0, code, data, task, 0u64];
    ram.memory().write_slice(&bytes(gdt), layout::GDT)?;
    Ok(())
}

/// Writes the page tables.
pub(super) fn write_page_tables(ram: &GuestRam) -> Result<(), BootError> {
    let memory = ram.memory();
    let table = |at: u64| at | PRESENT | WRITABLE;
    memory.write_slice(&bytes([table(layout::PDPT.0)]), layout::PML4)?;
    let directories = (0..4).map(|gib| table(layout::PAGE_DIRECTORIES.0 + gib * 4096));
    memory.write_slice(&bytes(directories), layout::PDPT)?;
    let pages = (0..4 * ENTRIES).map(|page| page << 21 | PRESENT | WRITABLE | LARGE);
    memory.write_slice(&bytes(pages), layout::PAGE_DIRECTORIES)?;
    Ok(())
}

fn bytes(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The usual constants of flat segments.
    #[test]
    fn descriptors_are_flat() {
        assert_eq!(descriptor(&code_segment(CodeSegment::Bits64)), 0x00AF_9B00_0000_FFFF);
        assert_eq!(descriptor(&code_segment(CodeSegment::Bits32)), 0x00CF_9B00_0000_FFFF);
        assert_eq!(descriptor(&data_segment()), 0x00CF_9300_0000_FFFF);
        assert_eq!(descriptor(&task_segment()), 0x0000_8B00_0000_0067);
    }
}
