//! The ELF64 container (System V gABI, chapters 4 and 5): one header, a few loadable segments.
//!
//! A segment's memory size covers everything the guest uses, not only the file part, so that a
//! loader knows to put nothing else there.

use crate::layout::ENTRY;

const EHDR_SIZE: u16 = 64;
const PHDR_SIZE: u16 = 56;
/// Segments start on pages of the file, congruent to their addresses.
const PAGE: u64 = 0x1000;

/// What is loaded, and where.
pub struct Segment {
    /// The file part.
    pub bytes: Vec<u8>,
    /// The guest-physical address of its first byte.
    pub address: u64,
    /// End (exclusive) of the memory that belongs to it.
    pub end: u64,
}

/// Wraps the segments, of which there are few.
pub fn file(segments: &[Segment]) -> Vec<u8> {
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
    // A handful fits.
    let count = u16::try_from(segments.len()).unwrap_or(u16::MAX);
    for half in [EHDR_SIZE, PHDR_SIZE, count, 0, 0, 0] {
        out.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, e_sh*
    }
    let mut offset = PAGE;
    for segment in segments {
        let size = segment.bytes.len() as u64;
        out.extend(1u32.to_le_bytes()); // p_type: PT_LOAD
        out.extend(7u32.to_le_bytes()); // p_flags: RWX; the guest's own page tables are stricter
        out.extend(offset.to_le_bytes()); // p_offset
        out.extend(segment.address.to_le_bytes()); // p_vaddr
        out.extend(segment.address.to_le_bytes()); // p_paddr
        out.extend(size.to_le_bytes()); // p_filesz
        out.extend((segment.end - segment.address).to_le_bytes()); // p_memsz
        out.extend(PAGE.to_le_bytes()); // p_align
        offset += size.next_multiple_of(PAGE);
    }
    for segment in segments {
        out.resize(out.len().next_multiple_of(0x1000), 0);
        out.extend_from_slice(&segment.bytes);
    }
    out
}
