//! Taking the PVH note out of an ELF kernel, so that a VMM has to use the 64-bit entry.
//!
//! The note is `XEN_ELFNOTE_PHYS32_ENTRY` (18) of the owner "Xen" in a `PT_NOTE` segment (Xen: `elfnote.h`). Its
//! type is overwritten by one that means nothing; all else stays as it is.
use anyhow::{Context, Result, bail};

const PT_NOTE: u32 = 4;
const PHYS32_ENTRY: u32 = 18;
/// No note of the owner "Xen" has this type.
const UNKNOWN: u32 = 0x7fff_ffff;

/// A copy of `elf` without a PVH note.
///
/// # Errors
/// When it is no 64-bit little-endian ELF file, or has no PVH note.
pub fn without_pvh(elf: &[u8]) -> Result<Vec<u8>> {
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let table = size(u64_at(elf, 0x20)?)?;
    let entry_size = usize::from(u16_at(elf, 0x36)?);
    let entries = usize::from(u16_at(elf, 0x38)?);
    let mut copy = elf.to_vec();
    let mut found = false;
    for index in 0..entries {
        let header = index.checked_mul(entry_size).and_then(|offset| table.checked_add(offset));
        let header = header.context("the program header table is out of reach")?;
        if u32_at(elf, header)? != PT_NOTE {
            continue;
        }
        let start = size(u64_at(elf, header + 8)?)?;
        let length = size(u64_at(elf, header + 0x20)?)?;
        for note in pvh_notes(elf, start, length)? {
            copy[note..note + 4].copy_from_slice(&UNKNOWN.to_le_bytes());
            found = true;
        }
    }
    if !found {
        bail!("this kernel has no PVH note");
    }
    Ok(copy)
}

/// Offsets of the type fields of all PVH notes in the segment.
fn pvh_notes(elf: &[u8], start: usize, length: usize) -> Result<Vec<usize>> {
    let end = start.checked_add(length).filter(|end| *end <= elf.len());
    let end = end.context("a PT_NOTE segment reaches past the end of the file")?;
    let mut types = Vec::new();
    let mut at = start;
    while at + 12 <= end {
        let name_size = u32_at(elf, at)? as usize;
        let description_size = u32_at(elf, at + 4)? as usize;
        if u32_at(elf, at + 8)? == PHYS32_ENTRY && elf.get(at + 12..at + 16) == Some(b"Xen\0") {
            types.push(at + 8);
        }
        at += 12 + name_size.next_multiple_of(4) + description_size.next_multiple_of(4);
    }
    Ok(types)
}

fn bytes_at<const N: usize>(elf: &[u8], at: usize) -> Result<[u8; N]> {
    let bytes =
        at.checked_add(N).and_then(|end| elf.get(at..end)).and_then(|bytes| bytes.try_into().ok());
    bytes.with_context(|| format!("ends before offset {at:#x} + {N}"))
}

fn u16_at(elf: &[u8], at: usize) -> Result<u16> {
    bytes_at(elf, at).map(u16::from_le_bytes)
}

fn u32_at(elf: &[u8], at: usize) -> Result<u32> {
    bytes_at(elf, at).map(u32::from_le_bytes)
}

fn u64_at(elf: &[u8], at: usize) -> Result<u64> {
    bytes_at(elf, at).map(u64::from_le_bytes)
}

fn size(value: u64) -> Result<usize> {
    usize::try_from(value).context("an offset is out of reach")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header, one `PT_NOTE` header, and notes of the types `types`.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 0x78];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x20] = 0x40;
        file[0x36] = 0x38;
        file[0x38] = 1;
        file[0x40] = 4;
        file[0x48] = 0x78;
        file[0x60] = u8::try_from(types.len() * 20).unwrap();
        for kind in types {
            for word in [4, 4, *kind] {
                file.extend(word.to_le_bytes());
            }
            file.extend(b"Xen\0\0\0\0\x01");
        }
        file
    }

    #[test]
    fn only_the_type_of_the_pvh_note_changes() {
        assert_eq!(without_pvh(&elf(&[1, PHYS32_ENTRY, 2])).unwrap(), elf(&[1, UNKNOWN, 2]));
    }

    #[test]
    fn no_note_is_an_error() {
        assert!(without_pvh(&elf(&[1, 2])).unwrap_err().to_string().contains("no PVH note"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = elf(&[PHYS32_ENTRY]);
        for length in 0..whole.len() {
            assert!(without_pvh(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_damaged_byte_gives_an_answer() {
        for at in 0..elf(&[PHYS32_ENTRY]).len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut damaged = elf(&[PHYS32_ENTRY]);
                damaged[at] = value;
                let _ = without_pvh(&damaged);
            }
        }
    }
}
