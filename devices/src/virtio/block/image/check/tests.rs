//! A small image in order, each way of damaging it, and random damage next to what qemu-img says of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::NamedTempFile;

use super::entry::Layout;
use super::*;
use crate::virtio::block::image::header;
use crate::virtio::block::tests::qcow2::qemu_img;

const CLUSTER: u64 = 512;
/// What its clusters are: one after the other, the last two with compressed data.
const HEADER: u64 = 0;
const REFCOUNTS: u64 = 1;
const BLOCK: u64 = 2;
const L1: u64 = 3;
const L2: u64 = 4;
const DATA: u64 = 5;
const SHARED: u64 = 7;
const CLUSTERS: u64 = 9;

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// Where a cluster begins.
const fn at(cluster: u64) -> u64 {
    cluster * CLUSTER
}

/// An image that is put together by hand.
struct Image(Vec<u8>);

impl Image {
    /// Of 64 KiB in clusters of 512 bytes, refcounts of `2^order` bits: two clusters of data, two compressed ones that
    /// share a cluster, of which one goes on in the next.
    fn new(order: u32) -> Self {
        let mut image = Self(vec![0; usize::try_from(at(CLUSTERS)).unwrap()]);
        image.bytes(0, b"QFI\xfb");
        image.word(4, 3);
        image.word(20, 9);
        image.number(24, 64 << 10);
        image.word(36, 2);
        image.number(40, at(L1));
        image.number(48, at(REFCOUNTS));
        image.word(56, 1);
        image.word(96, order);
        image.word(100, 104);
        image.number(at(REFCOUNTS), at(BLOCK));
        image.number(at(L1), at(L2) | COPIED);
        image.entry(0, at(DATA) | COPIED);
        image.entry(1, at(DATA + 1) | COPIED);
        // One sector; then from its middle, one sector and the next.
        image.entry(2, at(SHARED) | COMPRESSED);
        image.entry(3, (at(SHARED) + 100) | 1 << 61 | COMPRESSED);
        for cluster in 0..CLUSTERS {
            image.refcount(order, cluster, if cluster == SHARED && order > 0 { 2 } else { 1 });
        }
        image
    }

    fn bytes(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: u64, word: u32) {
        self.bytes(at, &word.to_be_bytes());
    }

    fn number(&mut self, at: u64, number: u64) {
        self.bytes(at, &number.to_be_bytes());
    }

    /// Of the L2 table.
    fn entry(&mut self, index: u64, entry: u64) {
        self.number(at(L2) + 8 * index, entry);
    }

    /// Written by other means than those that read it.
    fn refcount(&mut self, order: u32, cluster: u64, count: u8) {
        let block = usize::try_from(at(BLOCK)).unwrap();
        let cluster = usize::try_from(cluster).unwrap();
        if order < 3 {
            let per_byte = 8 >> order;
            let shift = (cluster % per_byte) << order;
            let mask = u8::try_from((1_u32 << (1 << order)) - 1).unwrap() << shift;
            let byte = &mut self.0[block + cluster / per_byte];
            *byte = (*byte & !mask) | (count << shift);
        } else {
            let width = 1 << (order - 3);
            self.0[block + (cluster + 1) * width - 1] = count;
        }
    }

    fn check(&self) -> Result<(), String> {
        let file = memfd();
        file.write_all_at(&self.0, 0).unwrap();
        walk(&file, self.0.len() as u64)
    }
}

fn memfd() -> File {
    File::from(memfd_create("image", MemfdFlags::CLOEXEC).unwrap())
}

fn walk(file: &File, len: u64) -> Result<(), String> {
    let header = header::check(file, len)?;
    check(file, len, &header).map_err(|problem| problem.to_string())
}

#[test]
fn an_image_in_order_passes_with_refcounts_of_any_width() {
    for order in 1..=6 {
        assert_eq!(Image::new(order).check(), Ok(()), "2^{order} bits");
    }
    // One bit cannot count two.
    let error = Image::new(0).check().unwrap_err();
    assert!(error.contains("refcount of 1") && error.contains("2 references"), "{error}");
    let mut image = Image::new(0);
    image.entry(2, 0);
    assert_eq!(image.check(), Ok(()));
}

#[test]
fn refcounts_that_are_too_high_are_leaks_and_do_no_harm() {
    let mut image = Image::new(4);
    image.refcount(4, DATA, 3);
    image.refcount(4, 200, 1);
    assert_eq!(image.check(), Ok(()));
}

#[test]
fn each_damage_is_refused_with_what_it_is() {
    type Damage = fn(&mut Image);
    let cases: [(&str, Damage, &str); 17] = [
        ("data in the header", |i| i.entry(5, HEADER | COPIED | 1), ""),
        ("data in the L1 table", |i| i.entry(5, at(L1) | COPIED), "0x600 is used for data"),
        ("data in its L2 table", |i| i.entry(5, at(L2) | COPIED), "used for data"),
        ("data in the block", |i| i.entry(5, at(BLOCK) | COPIED), "used for data"),
        ("zeros in the refcount table", |i| i.entry(5, at(REFCOUNTS) | 1), "used for data"),
        ("data twice", |i| i.entry(5, at(DATA) | COPIED), "0xa00 is used for data"),
        ("compressed in data", |i| i.entry(5, at(DATA) | COMPRESSED), "compressed data"),
        ("data beyond", |i| i.entry(5, at(CLUSTERS)), "not within the file"),
        ("compressed beyond", |i| i.entry(3, at(8) | 1 << 61 | COMPRESSED), "not within"),
        ("unaligned", |i| i.word(20, 10), "beginning of a cluster"),
        ("reserved", |i| i.entry(5, 2), "reserved bits"),
        ("one L2 table twice", |i| i.number(at(L1) + 8, at(L2)), "an L2 table"),
        ("an L2 table in the L1 table", |i| i.number(at(L1) + 8, at(L1)), "an L2 table"),
        ("the block is the L1 table", |i| i.number(at(REFCOUNTS), at(L1)), "a refcount"),
        ("the block is missing", |i| i.number(at(REFCOUNTS), 0), "refcount of 0"),
        ("data is free", |i| i.refcount(4, DATA, 0), "0xa00 has a refcount of 0"),
        ("an L2 table is free", |i| i.refcount(4, L2, 0), "0x800 has a refcount of 0"),
    ];
    for (name, damage, expected) in cases {
        let mut image = Image::new(4);
        damage(&mut image);
        let result = image.check();
        if expected.is_empty() {
            // Offset 0 is no cluster: it only reads as zeros.
            assert_eq!(result, Ok(()), "{name}");
            continue;
        }
        let error = result.expect_err(name);
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains("qemu-img check -r all") || name == "unaligned", "{name}: {error}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases: [(u64, u64, &str); 5] = [
        (60, 1 << 32, "1 internal snapshots"),
        (72, 1, "dirty"),
        (72, 2, "corrupt"),
        (72, 8, "compressed by another method"),
        (72, 16, "subclusters"),
    ];
    for (at, number, expected) in cases {
        let mut image = Image::new(4);
        image.number(at, number);
        let error = image.check().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_of_several_windows_is_walked_in_each() {
    // Refcounts of one bit: a block counts 4096 clusters, so the second window begins at block 4096.
    let far = claims::WINDOW + 7;
    let mut image = Image::new(0);
    image.entry(2, 0);
    // The refcount table moves behind the rest: it has 64 clusters and another one.
    let table = CLUSTERS;
    let table_clusters = 65;
    let second = table + table_clusters;
    image.number(48, at(table));
    image.word(56, u32::try_from(table_clusters).unwrap());
    image.entry(0, at(far) | COPIED);
    for cluster in (CLUSTERS..=second).chain([L1, L2]) {
        image.refcount(0, cluster, 1);
    }
    let file = memfd();
    file.write_all_at(&image.0, 0).unwrap();
    let len = (far + 1) * CLUSTER;
    file.set_len(len).unwrap();
    let number = |at: u64, number: u64| file.write_all_at(&number.to_be_bytes(), at).unwrap();
    number(at(table), at(BLOCK));
    let error = walk(&file, len).unwrap_err();
    assert!(error.contains(&format!("{:#x} has a refcount of 0", at(far))), "{error}");
    number(at(table) + 8 * 4096, at(second));
    file.write_all_at(&[1 << 7], at(second)).unwrap();
    assert_eq!(walk(&file, len), Ok(()));
    number(at(L2) + 8 * 60, at(far) | COPIED);
    let error = walk(&file, len).unwrap_err();
    assert!(error.contains("used for data and for something else"), "{error}");
}

#[test]
fn a_file_that_would_take_too_long_is_refused_at_once() {
    let file = memfd();
    file.write_all_at(&Image::new(4).0, 0).unwrap();
    file.set_len(1 << 46).unwrap();
    let error = walk(&file, 1 << 46).unwrap_err();
    assert!(error.contains("too large to be checked"), "{error}");
}

#[test]
fn compressed_clusters_are_found_as_wide_as_they_are() {
    let layout = Layout::new(16, 1 << 30);
    // 54 bits of offset; 3 more sectors behind the first.
    let entry = COMPRESSED | 3 << 54 | 0x1_fc00;
    let expected = Place::At(Guest::Compressed { first: 1, last: 2 });
    assert_eq!(layout.decode(entry, 3), Ok(expected));
    let entry = COMPRESSED | 1 << 54 | 0x1_fc00;
    let expected = Place::At(Guest::Compressed { first: 1, last: 1 });
    assert_eq!(layout.decode(entry, 3), Ok(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever passes, qemu-img finds in order, too, but for flags that only cost a copy.
    #[test]
    fn what_passes_is_in_order_for_qemu_img(
        patches in prop::collection::vec((512_u64..2600, any::<u8>()), 1..4),
        order in 1_u32..=6,
    ) {
        let mut image = Image::new(order);
        for (place, byte) in patches {
            // What offsets are made of, more often than others.
            let byte = if place % 8 == 6 { byte % 24 } else { byte };
            image.bytes(place, &[byte]);
        }
        if image.check().is_ok() && qemu_img() {
            let file = NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &image.0).unwrap();
            let output =
                Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(file.path()).output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            let bad = text.lines().find(|line| {
                line.contains("ERROR") && !line.contains("OFLAG_COPIED")
            });
            prop_assert!(bad.is_none(), "{text}");
        }
    }
}
