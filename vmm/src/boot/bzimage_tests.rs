//! bzImages, whole and damaged.

use std::io::Cursor;

use proptest::prelude::*;
use vm_memory::Bytes;

use super::*;
use crate::boot::test_images::{self, LOAD, put};

fn load_bytes(ram: &GuestRam, bytes: &[u8]) -> Result<Loaded, KernelError> {
    let head = &bytes[..bytes.len().min(4096)];
    load(ram, &mut Cursor::new(bytes), head, bytes.len() as u64)
}

#[test]
fn it_goes_to_its_preferred_address() {
    let ram = test_images::ram(16 << 20);
    let loaded = load_bytes(&ram, &test_images::bzimage(b"code")).unwrap();

    assert_eq!(loaded.entry.0, LOAD + 0x200);
    assert_eq!(loaded.range, (LOAD, LOAD + 0x10_0000));
    assert_eq!({ loaded.header.code32_start }, 2 << 20);
    assert_eq!(&ram.memory().read_obj::<[u8; 4]>(loaded.entry).unwrap(), b"code");
}

#[test]
fn without_room_there_it_goes_lower() {
    let ram = test_images::ram(5 << 20);
    let mut image = test_images::bzimage(b"code");
    put(&mut image, 0x258, &(16u64 << 20).to_le_bytes());
    assert_eq!(load_bytes(&ram, &image).unwrap().entry.0, 0x10_0200);
}

#[test]
fn what_is_not_relocatable_stays() {
    let ram = test_images::ram(5 << 20);
    let mut image = test_images::bzimage(b"code");
    put(&mut image, 0x258, &(16u64 << 20).to_le_bytes());
    put(&mut image, 0x234, &[0]);
    let error = load_bytes(&ram, &image).err().unwrap().to_string();
    assert!(error.contains("from 0x1000000 to 0x1100000"), "{error}");
}

#[test]
fn bytes_past_the_header_are_code_and_not_copied() {
    let mut image = test_images::bzimage(b"code");
    // A header that ends at 0x25C: pref_address is cut, init_size is beyond.
    put(&mut image, 0x201, &[0x56]);
    let header = header(&image[..4096.min(image.len())], image.len() as u64).unwrap();
    assert_eq!({ header.init_size }, 0);
    assert_eq!({ header.cmdline_size }, 255);
}

#[test]
fn damage_is_told() {
    let whole = test_images::bzimage(&[0x90; 1000]);
    let cut = |len: usize| whole[..len].to_vec();
    let changed = |at: usize, bytes: &[u8]| {
        let mut image = whole.clone();
        put(&mut image, at, bytes);
        image
    };
    let cases = [
        (cut(0x220), "truncated: its setup header"),
        (cut(0x400), "truncated: its kernel code"),
        (cut(whole.len() - 1), "truncated: its kernel code"),
        (changed(0x24C, &u32::MAX.to_le_bytes()), "truncated: its compressed kernel"),
        (changed(0x206, &[0x09, 0x02]), "boot protocol 2.09"),
        (changed(0x211, &[0]), "zImage"),
        (changed(0x236, &[0, 0]), "32-bit x86 kernel"),
        (changed(0x1F4, &[0, 0, 0, 0]), "too short for an entry point"),
        (changed(0x260, &u32::MAX.to_le_bytes()), "needs memory from 0x100000"),
        (changed(0x258, &[0; 8]), ""),
    ];
    for (image, expected) in cases {
        let ram = test_images::ram(8 << 20);
        match load_bytes(&ram, &image) {
            Ok(loaded) => {
                assert!(expected.is_empty(), "should say {expected:?}");
                assert_eq!(loaded.range.0, 1 << 20, "too low a preference is not followed");
            }
            Err(error) => {
                let message = error.to_string();
                assert!(!expected.is_empty() && message.contains(expected), "{message:?}");
            }
        }
    }
}

#[test]
fn a_bad_alignment_is_damage() {
    let mut image = test_images::bzimage(b"code");
    put(&mut image, 0x230, &3u32.to_le_bytes());
    put(&mut image, 0x258, &[0xFF; 8]);
    let error = load_bytes(&test_images::ram(8 << 20), &image).err().unwrap();
    assert!(error.to_string().contains("power of two"), "{error}");
}

proptest! {
    #[test]
    fn no_header_panics(
        changes in prop::collection::vec((0x1F1usize..0x270, any::<u8>()), 1..20), len in 0usize..2048,
    ) {
        let mut image = test_images::bzimage(&[0x90; 512]);
        for (at, byte) in changes {
            image[at] = byte;
        }
        image.truncate(len);
        let ram = test_images::ram(8 << 20);
        if let Ok(loaded) = load_bytes(&ram, &image) {
            prop_assert!(loaded.range.0 >= 1 << 20 && loaded.range.1 <= ram.size());
            prop_assert!((loaded.range.0..loaded.range.1).contains(&loaded.entry.0));
        }
    }
}
