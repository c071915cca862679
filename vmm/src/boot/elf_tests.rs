//! ELF kernels, whole and damaged.

use std::io::Cursor;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::boot::test_images::{self, LOAD, put};

fn load_bytes(ram: &GuestRam, bytes: &[u8]) -> Result<Loaded, KernelError> {
    let head = &bytes[..bytes.len().min(4096)];
    load(ram, &mut Cursor::new(bytes), head, bytes.len() as u64)
}

#[test]
fn segments_and_entry_points_are_found() {
    let ram = test_images::ram(8 << 20);
    let entry = u32::try_from(LOAD).unwrap() + 2;

    let loaded = load_bytes(&ram, &test_images::elf(b"code", LOAD, Some(entry))).unwrap();

    assert_eq!((loaded.entry, loaded.pvh_entry), (LOAD, Some(LOAD + 2)));
    assert_eq!(loaded.range, (LOAD, LOAD + 8), "the part past the file counts, too");
    assert_eq!(&ram.memory().read_obj::<[u8; 4]>(GuestAddress(LOAD)).unwrap(), b"code");
}

#[test]
fn without_a_note_there_is_no_pvh_entry() {
    let ram = test_images::ram(8 << 20);
    let loaded = load_bytes(&ram, &test_images::elf(b"code", LOAD, None)).unwrap();
    assert_eq!(loaded.pvh_entry, None);
}

#[test]
fn damage_is_told() {
    let whole = test_images::elf(b"code", LOAD, Some(0x20_0000));
    let cut = |len: usize| whole[..len].to_vec();
    let changed = |at: usize, bytes: &[u8]| {
        let mut image = whole.clone();
        put(&mut image, at, bytes);
        image
    };
    let most = u64::MAX.to_le_bytes();
    let cases = [
        (cut(5), "truncated: its ELF header"),
        (cut(57), "truncated: its ELF header"),
        (cut(100), "truncated: its program header table"),
        (cut(0x203), "truncated: its segment ends at byte 516, but the file has 515"),
        (changed(4, &[1]), "32-bit x86 kernel"),
        (changed(5, &[2]), "a big-endian processor"),
        (changed(18, &[3, 0]), "32-bit x86 kernel"),
        (changed(18, &[183, 0]), "built for AArch64"),
        (changed(18, &[99, 99]), "built for ELF machine 25443"),
        (changed(16, &[1, 0]), "no executable"),
        (changed(54, &[55, 0]), "wrong size"),
        (changed(56, &[0, 0]), "no program headers"),
        (changed(56, &[0xFF, 0xFF]), "too many program headers"),
        (changed(32, &[1, 0]), "inside the ELF header"),
        (changed(32, &most), "truncated: its program header table"),
        (changed(64, &[9]), "nothing to load"),
        (changed(64 + 8, &most), "truncated: its segment"),
        (changed(64 + 24, &[0, 0, 0]), "below 1 MiB"),
        (changed(64 + 24, &most), "give the VM more memory"),
        (changed(64 + 40, &[3]), "longer in the file than in memory"),
        (changed(64 + 40, &most), "needs memory from 0x200000 to 0xffffffffffffffff"),
        (changed(120 + 8, &most), "truncated: its note segment"),
        (changed(24, &[4]), "64-bit entry point 0x200004 lies in no loaded segment"),
        (changed(0x114 + 16, &[0xFF]), "PVH entry point 0x2000ff lies in no loaded segment"),
    ];
    for (image, expected) in cases {
        let ram = test_images::ram(8 << 20);
        let message = load_bytes(&ram, &image).err().map(|error| error.to_string());
        let told = message.as_ref().is_some_and(|message| message.contains(expected));
        assert!(told, "{message:?} should say {expected:?}");
    }
}

proptest! {
    #[test]
    fn no_header_panics(
        changes in prop::collection::vec((0usize..0x140, any::<u8>()), 1..12), len in 0usize..1024,
    ) {
        let mut image = test_images::elf(&[0x90; 256], LOAD, Some(0x20_0000));
        for (at, byte) in changes {
            image[at] = byte;
        }
        image.truncate(len);
        let ram = test_images::ram(8 << 20);
        if let Ok(loaded) = load_bytes(&ram, &image) {
            prop_assert!(loaded.range.0 >= 1 << 20 && loaded.range.1 <= ram.size());
            prop_assert!((loaded.range.0..loaded.range.1).contains(&loaded.entry));
        }
    }

    /// Notes of any length and kind: the search ends, inside or at the end of the file.
    #[test]
    fn no_note_panics(notes in prop::collection::vec(any::<u8>(), 40), claimed: u64) {
        let mut image = test_images::elf(&[0x90; 256], LOAD, Some(0x20_0000));
        put(&mut image, 0x100, &notes);
        put(&mut image, 120 + 32, &(claimed % 0x300).to_le_bytes());
        let loaded = load_bytes(&test_images::ram(8 << 20), &image);
        if let Ok(Loaded { pvh_entry: Some(entry), .. }) = loaded {
            prop_assert!((LOAD..LOAD + 256).contains(&entry));
        }
    }
}
