//! ELF kernels: Linux's `vmlinux`, the embedded guest, and other bare-metal programs
//! (System V ABI, chapter 4 and 5; the PVH note is Xen's `XEN_ELFNOTE_PHYS32_ENTRY`).
//!
//! The headers are checked here, number by number; the loader crate then copies the segments
//! and finds the note.

use std::io::{Read, SeekFrom};

use linux_loader::loader::{Elf, KernelLoader, PvhBootCapability};

use super::KernelError;
use super::image::{Image, bytes_at};
use crate::memory::{GuestRam, layout::HIGH_MEMORY};

const HEADER_LEN: u64 = 64;
const SEGMENT_LEN: u16 = 56;
/// A kernel has half a dozen segments; a thousand would be work without end.
const MAX_SEGMENTS: u16 = 64;
/// Notes are a few hundred bytes; the note search reads them one by one.
const MAX_NOTES: u64 = 1 << 20;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXEC: u16 = 2;
const TYPE_DYN: u16 = 3;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;

/// An ELF kernel in guest memory.
pub(super) struct Loaded {
    /// The entry point of the header, for 64-bit mode.
    pub(super) entry: u64,
    /// The entry point of the PVH note, for 32-bit mode.
    pub(super) pvh_entry: Option<u64>,
    /// Lowest and highest address of all segments.
    pub(super) range: (u64, u64),
}

pub(super) fn load(
    ram: &GuestRam,
    image: &mut impl Image,
    head: &[u8],
    size: u64,
) -> Result<Loaded, KernelError> {
    let header = Header::parse(head, size)?;
    let segments = segments(image, &header, size)?;
    let range = check_segments(&segments, size, ram.low_size())?;
    let loaded = Elf::load(ram.memory(), None, image, None).map_err(KernelError::Loader)?;
    let pvh_entry = match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => Some(entry.0),
        PvhBootCapability::PvhEntryNotPresent | PvhBootCapability::PvhEntryIgnored => None,
    };
    for (kind, entry) in [("64-bit", Some(header.entry)), ("PVH", pvh_entry)] {
        if let Some(entry) = entry.filter(|entry| !in_a_segment(&segments, *entry)) {
            return Err(KernelError::BadEntry { kind, entry });
        }
    }
    Ok(Loaded { entry: header.entry, pvh_entry, range })
}

struct Header {
    entry: u64,
    table: u64,
    count: u16,
}

impl Header {
    fn parse(head: &[u8], size: u64) -> Result<Self, KernelError> {
        let cut = || KernelError::Truncated { part: "ELF header", end: HEADER_LEN, size };
        let u16_at = |at| bytes_at(head, at).map(u16::from_le_bytes).ok_or_else(cut);
        let u64_at = |at| bytes_at(head, at).map(u64::from_le_bytes).ok_or_else(cut);
        let [class, endian] = bytes_at(head, 4).ok_or_else(cut)?;
        if endian != LITTLE_ENDIAN {
            let machine = "a big-endian processor".to_owned();
            return Err(KernelError::WrongArchitecture { machine });
        }
        match u16_at(18)? {
            MACHINE_X86_64 if class == CLASS_64 => {}
            MACHINE_X86_64 | MACHINE_386 => return Err(KernelError::Bits32),
            other => return Err(KernelError::WrongArchitecture { machine: machine(other) }),
        }
        if !matches!(u16_at(16)?, TYPE_EXEC | TYPE_DYN) {
            return Err(KernelError::Damaged("the ELF file is no executable"));
        }
        let header = Self { entry: u64_at(24)?, table: u64_at(32)?, count: u16_at(56)? };
        if u16_at(54)? != SEGMENT_LEN {
            return Err(KernelError::Damaged("program headers have the wrong size"));
        }
        if header.count == 0 {
            return Err(KernelError::Damaged("the ELF file has no program headers"));
        }
        if header.count > MAX_SEGMENTS {
            return Err(KernelError::Damaged("the ELF file has too many program headers"));
        }
        if header.table < HEADER_LEN {
            return Err(KernelError::Damaged("program headers lie inside the ELF header"));
        }
        Ok(header)
    }
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
}

impl Segment {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let u64_at = |at| bytes_at(bytes, at).map(u64::from_le_bytes);
        Some(Self {
            kind: u32::from_le_bytes(bytes_at(bytes, 0)?),
            offset: u64_at(8)?,
            address: u64_at(24)?,
            in_file: u64_at(32)?,
            in_memory: u64_at(40)?,
        })
    }
}

fn segments(
    image: &mut impl Image,
    header: &Header,
    size: u64,
) -> Result<Vec<Segment>, KernelError> {
    let len = u64::from(header.count) * u64::from(SEGMENT_LEN);
    let end = header.table.saturating_add(len);
    let cut = || KernelError::Truncated { part: "program header table", end, size };
    if end > size {
        return Err(cut());
    }
    let mut bytes = Vec::new();
    image.seek(SeekFrom::Start(header.table))?;
    image.by_ref().take(len).read_to_end(&mut bytes)?;
    let segments: Vec<_> =
        bytes.chunks_exact(usize::from(SEGMENT_LEN)).filter_map(Segment::parse).collect();
    if segments.len() != usize::from(header.count) {
        return Err(cut());
    }
    Ok(segments)
}

/// Checks every segment that is loaded or read, and returns what the loaded ones span.
fn check_segments(segments: &[Segment], size: u64, ram: u64) -> Result<(u64, u64), KernelError> {
    let mut range = (u64::MAX, 0);
    for segment in segments {
        let part = match segment.kind {
            SEGMENT_LOAD => "segment",
            SEGMENT_NOTE => "note segment",
            _ => continue,
        };
        let end = segment.offset.saturating_add(segment.in_file);
        if end > size {
            return Err(KernelError::Truncated { part, end, size });
        }
        if segment.kind == SEGMENT_NOTE {
            if segment.in_file > MAX_NOTES {
                return Err(KernelError::Damaged("the note segment is too long"));
            }
            continue;
        }
        if segment.in_file > segment.in_memory {
            return Err(KernelError::Damaged("a segment is longer in the file than in memory"));
        }
        if segment.in_memory == 0 {
            continue;
        }
        let (start, end) = (segment.address, segment.address.saturating_add(segment.in_memory));
        if start < HIGH_MEMORY.0 {
            return Err(KernelError::TooLow { start });
        }
        if end > ram {
            return Err(KernelError::DoesNotFit { start, end, ram });
        }
        range = (range.0.min(start), range.1.max(end));
    }
    if range.1 == 0 {
        return Err(KernelError::Damaged("the ELF file has nothing to load"));
    }
    Ok(range)
}

fn in_a_segment(segments: &[Segment], entry: u64) -> bool {
    segments.iter().filter(|segment| segment.kind == SEGMENT_LOAD).any(|segment| {
        entry.checked_sub(segment.address).is_some_and(|offset| offset < segment.in_file)
    })
}

fn machine(number: u16) -> String {
    let name = match number {
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "S/390",
        40 => "ARM",
        183 => "AArch64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => return format!("ELF machine {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
