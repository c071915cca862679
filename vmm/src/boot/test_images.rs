//! Tiny kernels, made here byte by byte.

use crate::config::MemoryConfig;
use crate::memory::GuestRam;

/// Where the tiny kernels lie.
pub(crate) const LOAD: u64 = 2 << 20;

pub(super) fn ram(size: u64) -> GuestRam {
    GuestRam::new(&MemoryConfig { size, ..MemoryConfig::default() }, 46).unwrap()
}

/// Overwrites `bytes` at `at`.
pub(super) fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// One loaded segment at [`LOAD`] that holds `code` and as many zeros after it, and, with
/// `pvh_entry`, a note. The file: header, two program headers, note, code at 0x200.
pub(crate) fn elf(code: &[u8], entry: u64, pvh_entry: Option<u32>) -> Vec<u8> {
    let mut image = vec![0; 0x200];
    put(&mut image, 0, &[0x7F, b'E', b'L', b'F', 2, 1, 1]);
    put(&mut image, 16, &2u16.to_le_bytes());
    put(&mut image, 18, &62u16.to_le_bytes());
    put(&mut image, 20, &1u32.to_le_bytes());
    put(&mut image, 24, &entry.to_le_bytes());
    put(&mut image, 32, &64u64.to_le_bytes());
    put(&mut image, 54, &56u16.to_le_bytes());
    put(&mut image, 56, &(1 + u16::from(pvh_entry.is_some())).to_le_bytes());
    let len = code.len() as u64;
    program_header(&mut image, 64, [1, 0x200, LOAD, len, len * 2]);
    if let Some(entry) = pvh_entry {
        program_header(&mut image, 120, [4, 0x100, 0, 40, 40]);
        // Another note first, so that the search has something to skip.
        note(&mut image, 0x100, 6, 7);
        note(&mut image, 0x114, 18, entry);
    }
    image.extend_from_slice(code);
    image
}

fn program_header(image: &mut [u8], at: usize, [kind, offset, address, file, memory]: [u64; 5]) {
    put(image, at, &u32::try_from(kind).unwrap().to_le_bytes());
    for (field, value) in [(8, offset), (24, address), (32, file), (40, memory)] {
        put(image, at + field, &value.to_le_bytes());
    }
}

/// 20 bytes: name and descriptor of 4 bytes each.
fn note(image: &mut [u8], at: usize, kind: u32, value: u32) {
    for (index, word) in [4, 4, kind, u32::from_le_bytes(*b"Xen\0"), value].iter().enumerate() {
        put(image, at + index * 4, &word.to_le_bytes());
    }
}

/// A relocatable kernel that prefers [`LOAD`], with `code` at its 64-bit entry point.
pub(super) fn bzimage(code: &[u8]) -> Vec<u8> {
    const SETUP: usize = 2 * 512;
    let mut image = vec![0; SETUP + 0x200];
    image.extend_from_slice(code);
    image.resize(image.len().next_multiple_of(16), 0);
    let paragraphs = u32::try_from((image.len() - SETUP) / 16).unwrap();
    put(&mut image, 0x1F1, &[1]);
    put(&mut image, 0x1F4, &paragraphs.to_le_bytes());
    put(&mut image, 0x1FE, &[0x55, 0xAA, 0xEB, 0x6A]);
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x206, &0x20F_u16.to_le_bytes());
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x214, &0x10_0000_u32.to_le_bytes());
    put(&mut image, 0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(&mut image, 0x230, &0x10_0000_u32.to_le_bytes());
    put(&mut image, 0x234, &[1, 20]);
    put(&mut image, 0x236, &1u16.to_le_bytes());
    put(&mut image, 0x238, &255u32.to_le_bytes());
    put(&mut image, 0x258, &LOAD.to_le_bytes());
    put(&mut image, 0x260, &0x10_0000_u32.to_le_bytes());
    image
}
