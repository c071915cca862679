//! The ELF64 container (System V gABI, chapters 4 and 5): one header, one loadable segment.
//!
//! The segment's memory size covers everything the guest uses, not only the file part, so that a
//! loader knows to put nothing else there.

use crate::layout::{ENTRY, IMAGE_BASE, MEMORY_END};

const EHDR_SIZE: u16 = 64;
const PHDR_SIZE: u16 = 56;
/// The segment starts on a page of the file, congruent to its address.
const SEGMENT_OFFSET: u64 = 0x1000;

/// Wraps the segment's bytes.
pub fn file(segment: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(*b"\x7fELF"); // e_ident: magic,
    out.extend([2, 1, 1, 0]); // 64-bit, little-endian, version 1, System V ABI,
    out.extend([0; 8]); // padding
    out.extend(2u16.to_le_bytes()); // e_type: ET_EXEC
    out.extend(62u16.to_le_bytes()); // e_machine: EM_X86_64
    out.extend(1u32.to_le_bytes()); // e_version
    out.extend(ENTRY.to_le_bytes()); // e_entry
    out.extend(u64::from(EHDR_SIZE).to_le_bytes()); // e_phoff
    out.extend(0u64.to_le_bytes()); // e_shoff: no sections
    out.extend(0u32.to_le_bytes()); // e_flags
    for half in [EHDR_SIZE, PHDR_SIZE, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_sh*
    }
    out.extend(1u32.to_le_bytes()); // p_type: PT_LOAD
    out.extend(7u32.to_le_bytes()); // p_flags: RWX; the guest's own page tables are stricter
    out.extend(SEGMENT_OFFSET.to_le_bytes()); // p_offset
    out.extend(IMAGE_BASE.to_le_bytes()); // p_vaddr
    out.extend(IMAGE_BASE.to_le_bytes()); // p_paddr
    out.extend((segment.len() as u64).to_le_bytes()); // p_filesz
    out.extend((MEMORY_END - IMAGE_BASE).to_le_bytes()); // p_memsz
    out.extend(0x1000u64.to_le_bytes()); // p_align
    while (out.len() as u64) < SEGMENT_OFFSET {
        out.push(0);
    }
    out.extend_from_slice(segment);
    out
}
