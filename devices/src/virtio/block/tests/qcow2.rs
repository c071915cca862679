//! qcow2 images, made and checked by qemu-img where there is one.

use std::process::Command;

use super::*;
use crate::virtio::block::{Access, BackingFiles, BlockError, Caching, ImageType};

/// Whether this host has qemu-img.
pub(in crate::virtio::block) fn qemu_img() -> bool {
    Command::new("qemu-img").arg("--version").output().is_ok()
}

/// Makes an empty image: two clusters of 64 KiB are its header and refcount table, then a refcount block and the
/// L1 table.
pub(super) fn create(path: &Path, size: u64) {
    const CLUSTER: usize = 1 << 16;
    let mut image = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    let l1 = u32::try_from(size.div_ceil(1 << 29)).unwrap();
    put(36, &l1.to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    // Refcounts of 16 bits, a header of 104 bytes.
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        put(2 * CLUSTER + 2 * cluster, &1_u16.to_be_bytes());
    }
    std::fs::write(path, image).unwrap();
}

/// Lets qemu-img check an image that nobody has open.
pub(super) fn check(path: &Path) {
    if !qemu_img() {
        println!("qemu-img is missing: {} is not checked by it", path.display());
        return;
    }
    let output =
        Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn qcow2(dir: &TempDir, size: u64) -> PathBuf {
    let path = dir.path().join("disk.qcow2");
    create(&path, size);
    path
}

#[test]
fn an_image_is_found_to_be_qcow2_and_is_in_order_afterwards() {
    let dir = TempDir::new().unwrap();
    let path = qcow2(&dir, 8 << 20);
    check(&path);
    for caching in [Caching::Buffered, Caching::Direct] {
        let options = BlockOptions { caching, ..BlockOptions::new("disk0", &path) };
        let mut rig = Rig::open(options);
        assert_eq!(rig.device.size(), 8 << 20);
        let data = pattern(600 * SECTOR, 511);
        assert_eq!(rig.write(99, &data), OK);
        assert!(rig.read(99, data.len()) == data);
        assert_eq!(rig.request(FLUSH, 0, &[], 0).0, OK);
        assert_eq!(rig.request(DISCARD, 0, &range(128, 256, 0), 0).0, OK);
        assert!(rig.read(128, 256 * SECTOR).iter().all(|byte| *byte == 0));
        assert_eq!(rig.request(IN, 8 << 11, &[], 512).0, IO_ERROR);
        rig.device.resize(16 << 20).unwrap();
        assert_eq!(rig.write((16 << 11) - 1, &[3; SECTOR]), OK);
        let error = rig.device.resize(8 << 20);
        drop(rig);
        check(&path);
        error.unwrap();
        create(&path, 8 << 20);
    }
}

#[test]
fn a_backing_file_is_read_only_when_that_was_asked_for() {
    if !qemu_img() {
        println!("qemu-img is missing");
        return;
    }
    let dir = TempDir::new().unwrap();
    let base = dir.path().join("base.raw");
    std::fs::write(&base, vec![0x5a; 1 << 20]).unwrap();
    let path = dir.path().join("overlay.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let error = BlockDevice::open(BlockOptions::new("disk0", &path)).err().unwrap();
    assert!(matches!(error, BlockError::BackingFile { .. }), "{error}");
    assert!(
        error.to_string().contains("base.raw") && error.to_string().contains("backing_files=on")
    );

    let backing_files = BackingFiles::Followed;
    let mut rig = Rig::open(BlockOptions { backing_files, ..BlockOptions::new("disk0", &path) });
    assert!(rig.read(5, SECTOR).iter().all(|byte| *byte == 0x5a));
    assert_eq!(rig.write(5, &[1; SECTOR]), OK);
    assert!(rig.read(5, SECTOR).iter().all(|byte| *byte == 1));
    // The base is shared with other readers, and with no writer.
    let base_options = BlockOptions::new("disk1", &base);
    assert!(matches!(BlockDevice::open(base_options.clone()), Err(BlockError::Locked { .. })));
    let access = Access::ReadOnly;
    assert!(BlockDevice::open(BlockOptions { access, ..base_options }).is_ok());
    drop(rig);
    check(&path);
    assert!(std::fs::read(&base).unwrap().iter().all(|byte| *byte == 0x5a));
}

#[test]
fn an_image_that_is_its_own_backing_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = qcow2(&dir, 1 << 20);
    let mut image = std::fs::read(&path).unwrap();
    image[8..16].copy_from_slice(&512_u64.to_be_bytes());
    image[16..20].copy_from_slice(&10_u32.to_be_bytes());
    image[512..522].copy_from_slice(b"disk.qcow2");
    std::fs::write(&path, image).unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let backing_files = BackingFiles::Followed;
        let options = BlockOptions { access, backing_files, ..BlockOptions::new("disk0", &path) };
        assert!(matches!(BlockDevice::open(options), Err(BlockError::Format { .. })));
    }
}

#[test]
fn headers_that_cannot_be_are_refused_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let path = qcow2(&dir, 1 << 20);
    let good = std::fs::read(&path).unwrap();
    let cases: [(&str, usize, &[u8], &str); 12] = [
        ("magic", 0, b"QFX", "does not begin"),
        ("version", 4, &9_u32.to_be_bytes(), "version 9"),
        ("cluster bits", 20, &31_u32.to_be_bytes(), "clusters of 2^31"),
        ("encryption", 32, &1_u32.to_be_bytes(), "encrypted"),
        ("L1 size", 36, &u32::MAX.to_be_bytes(), "L1 table has"),
        ("no L1 table", 36, &0_u32.to_be_bytes(), "too small"),
        ("L1 place", 40, &(1_u64 << 40).to_be_bytes(), "not within the file"),
        ("refcount place", 48, &512_u64.to_be_bytes(), "beginning of a cluster"),
        ("refcount size", 56, &u32::MAX.to_be_bytes(), "refcount table has"),
        ("external data", 72, &4_u64.to_be_bytes(), "in another file"),
        ("feature", 72, &(1_u64 << 40).to_be_bytes(), "not known"),
        ("refcount order", 96, &7_u32.to_be_bytes(), "2^7 bits"),
    ];
    for (name, at, bytes, expected) in cases {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(&path, image).unwrap();
        let image_type = Some(ImageType::Qcow2);
        let options = BlockOptions { image_type, ..BlockOptions::new("disk0", &path) };
        let error = BlockDevice::open(options).err().expect(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    std::fs::write(&path, &good[..50]).unwrap();
    assert!(BlockDevice::open(BlockOptions::new("disk0", &path)).is_err());
}

#[test]
fn a_damaged_image_is_only_read_until_it_has_been_repaired() {
    let dir = TempDir::new().unwrap();
    let path = qcow2(&dir, 1 << 20);
    let mut image = std::fs::read(&path).unwrap();
    // Nothing is counted for the L1 table: the first cluster that is allocated would be in it.
    image[2 * (1 << 16) + 7] = 0;
    std::fs::write(&path, &image).unwrap();
    let options = BlockOptions::new("disk0", &path);
    let error = BlockDevice::open(options.clone()).err().unwrap().to_string();
    assert!(error.contains("the cluster at 0x30000 has a refcount of 0"), "{error}");
    assert!(error.contains("qemu-img check -r all"), "{error}");
    let access = Access::ReadOnly;
    let mut rig = Rig::open(BlockOptions { access, ..options.clone() });
    assert!(rig.read(5, SECTOR).iter().all(|byte| *byte == 0));
    drop(rig);
    assert!(std::fs::read(&path).unwrap() == image);
    if !qemu_img() {
        println!("qemu-img is missing: the image is not repaired by it");
        return;
    }
    let repaired = Command::new("qemu-img").args(["check", "-q", "-r", "all"]).arg(&path).status();
    assert!(repaired.unwrap().success());
    let mut rig = Rig::open(options);
    assert_eq!(rig.write(5, &[7; SECTOR]), OK);
    drop(rig);
    check(&path);
}

#[test]
fn images_of_qemu_img_pass_with_all_that_they_can_have() {
    if !qemu_img() {
        println!("qemu-img is missing");
        return;
    }
    let dir = TempDir::new().unwrap();
    let source = dir.path().join("source.raw");
    // Runs that can be compressed, so that clusters share, and what cannot.
    let mut data = pattern(1 << 19, 1 << 12);
    data.extend((0..1_u32 << 17).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()));
    std::fs::write(&source, &data).unwrap();
    let cases: [&[&str]; 7] = [
        &["-c"],
        &["-c", "-o", "cluster_size=512,refcount_bits=64"],
        &["-o", "cluster_size=2M,refcount_bits=1"],
        &["-o", "compat=0.10"],
        &["-o", "preallocation=metadata"],
        &["-o", "lazy_refcounts=on"],
        &["-o", "cluster_size=4k,refcount_bits=8"],
    ];
    for (number, case) in cases.iter().enumerate() {
        let path = dir.path().join(format!("{number}.qcow2"));
        let made = Command::new("qemu-img")
            .args(["convert", "-q", "-f", "raw", "-O", "qcow2"])
            .args(*case)
            .args([&source, &path])
            .status();
        assert!(made.unwrap().success(), "{case:?}");
        let mut rig = Rig::open(BlockOptions::new("disk0", &path));
        assert!(rig.read(0, data.len()) == data, "{case:?}");
        let written = pattern(300 * SECTOR, 3);
        assert_eq!(rig.write(101, &written), OK, "{case:?}");
        assert!(rig.read(101, written.len()) == written, "{case:?}");
        drop(rig);
        check(&path);
        // What has been written passes as well.
        drop(Rig::open(BlockOptions::new("disk0", &path)));
    }
}
