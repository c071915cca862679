//! An image whose files are passed to another VMM, which finds nothing by their paths.

use std::fs::File;
use std::io::pipe;
use std::os::fd::OwnedFd;

use super::*;
use crate::virtio::block::{Access, BackingFiles, BlockError, Caching, ImageFiles};

const DATA: usize = 300 * SECTOR;
const NEW: usize = 40;

/// The same disk in another VMM, which has no path to it.
fn elsewhere(here: &Rig, options: &BlockOptions) -> Rig {
    let files = here.device.files().unwrap();
    let nowhere = BlockOptions { path: "/nowhere/to/be/found".into(), ..options.clone() };
    let device = BlockDevice::open_passed(nowhere, files).unwrap();
    Rig::of(device, feature::FLUSH, options.queue_size)
}

/// Files are removed as soon as the first VMM has them open.
fn goes_there_and_back(options: &BlockOptions, files: &[&Path]) {
    let mut here = Rig::open(options.clone());
    for file in files {
        std::fs::remove_file(file).unwrap();
    }
    let first = pattern(DATA, 7);
    assert_eq!(here.write(3, &first), OK);
    let mut there = elsewhere(&here, options);
    assert_eq!(there.device.size(), here.device.size());
    let refused = there.device.claim().unwrap_err();
    assert!(matches!(refused, BlockError::Locked { .. }), "{refused}");
    // What is passed and not wanted takes nothing away.
    drop(elsewhere(&here, options));
    let second = pattern(DATA, 11);
    assert_eq!(here.write(1003, &second), OK);
    for _ in 0..2 {
        here.device.release().unwrap();
        there.device.claim().unwrap();
        assert!(there.read(3, DATA) == first && there.read(1003, DATA) == second);
        assert!(matches!(here.device.claim(), Err(BlockError::Locked { .. })));
        assert_eq!(there.write(NEW as u64, &[9; SECTOR]), OK);
        there.device.release().unwrap();
        here.device.claim().unwrap();
        assert!(matches!(there.device.claim(), Err(BlockError::Locked { .. })));
        assert!(here.read(NEW as u64, SECTOR) == [9; SECTOR]);
        assert_eq!(here.write(NEW as u64, &first[(NEW - 3) * SECTOR..][..SECTOR]), OK);
    }
    // From the next to the one after that, and the first has gone.
    here.device.release().unwrap();
    there.device.claim().unwrap();
    drop(here);
    let mut beyond = elsewhere(&there, options);
    assert!(matches!(beyond.device.claim(), Err(BlockError::Locked { .. })));
    there.device.release().unwrap();
    drop(there);
    beyond.device.claim().unwrap();
    assert!(beyond.read(3, DATA) == first && beyond.read(1003, DATA) == second);
}

#[test]
fn a_raw_image_without_a_path_goes_there_and_back() {
    for caching in [Caching::Buffered, Caching::Direct] {
        let dir = TempDir::new().unwrap();
        let path = raw_image(dir.path(), 2048);
        let options = BlockOptions { caching, ..BlockOptions::new("disk0", &path) };
        goes_there_and_back(&options, &[&path]);
    }
}

#[test]
fn a_qcow2_image_without_a_path_goes_there_and_back() {
    for caching in [Caching::Buffered, Caching::Direct] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("disk.qcow2");
        qcow2::create(&path, 8 << 20);
        let options = BlockOptions { caching, ..BlockOptions::new("disk0", &path) };
        goes_there_and_back(&options, &[&path]);
    }
}

/// An image with the raw backing file `base` beside it.
fn overlay(dir: &TempDir) -> (BlockOptions, PathBuf) {
    let (path, base) = (dir.path().join("disk.qcow2"), dir.path().join("base"));
    qcow2::create(&path, 8 << 20);
    let mut image = std::fs::read(&path).unwrap();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &512_u64.to_be_bytes());
    put(16, &4_u32.to_be_bytes());
    put(512, b"base");
    // The extension that says that it is raw.
    put(104, &0xE279_2ACA_u32.to_be_bytes());
    put(108, &3_u32.to_be_bytes());
    put(112, b"raw");
    std::fs::write(&path, image).unwrap();
    std::fs::write(&base, vec![0x5A; 8 << 20]).unwrap();
    let backing_files = BackingFiles::Followed;
    (BlockOptions { backing_files, ..BlockOptions::new("disk0", path) }, base)
}

#[test]
fn backing_files_go_with_the_image() {
    let dir = TempDir::new().unwrap();
    let (options, base) = overlay(&dir);
    goes_there_and_back(&options, &[&options.path, &base]);

    let (options, base) = overlay(&dir);
    let mut here = Rig::open(options.clone());
    std::fs::remove_file(base).unwrap();
    assert_eq!(here.device.files().unwrap().backing.len(), 1);
    let mut there = elsewhere(&here, &options);
    here.device.release().unwrap();
    there.device.claim().unwrap();
    assert!(there.read(8000, SECTOR) == [0x5A; SECTOR]);
    there.device.release().unwrap();
    // It needs no path to take it back.
    here.device.claim().unwrap();
    assert!(here.read(8000, SECTOR) == [0x5A; SECTOR]);
}

/// What is said of these files; at the latest when the image is claimed.
fn refused(options: &BlockOptions, files: ImageFiles) -> String {
    let opened = BlockDevice::open_passed(options.clone(), files);
    opened.and_then(|device| device.claim()).unwrap_err().to_string()
}

#[test]
fn files_that_are_missing_left_over_or_of_no_use_are_refused() {
    let dir = TempDir::new().unwrap();
    let path = raw_image(dir.path(), 64);
    let open = || File::options().read(true).write(true).open(&path).unwrap();
    let files = |image| ImageFiles { image, direct: None, backing: vec![] };
    let raw = BlockOptions::new("disk0", &path);
    let direct = BlockOptions { caching: Caching::Direct, ..raw.clone() };
    let read_only = BlockOptions { access: Access::ReadOnly, ..raw.clone() };
    let append = || File::options().read(true).append(true).open(&path).unwrap();
    let (reader, _writer) = pipe().unwrap();
    let other = tempfile::tempfile().unwrap();
    for (options, files, expected) in [
        (&raw, files(File::open(&path).unwrap()), "the image is not open for what the disk does"),
        (
            &read_only,
            files(File::options().write(true).open(&path).unwrap()),
            "the image is not open",
        ),
        (&raw, files(append()), "the image is not open for what the disk does"),
        (&raw, files(File::from(OwnedFd::from(reader))), "neither a file nor a block device"),
        (&raw, files(File::open(dir.path()).unwrap()), "neither a file nor a block device"),
        (&direct, files(open()), "file for direct I/O is missing"),
        (&raw, ImageFiles { direct: Some(open()), ..files(open()) }, "is left over"),
        (
            &direct,
            ImageFiles { direct: Some(other), ..files(open()) },
            "another one than the image",
        ),
        (&raw, ImageFiles { backing: vec![open()], ..files(open()) }, "are left over"),
    ] {
        let error = refused(options, files);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let (options, base) = overlay(&dir);
    let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
    let plain = dir.path().join("plain.qcow2");
    qcow2::create(&plain, 8 << 20);
    for (image, backing, expected) in [
        (&options.path, 0, "its backing file base was not passed"),
        (&options.path, 2, "1 backing files are left over"),
        (&plain, 1, "it has no backing file, and one was passed"),
    ] {
        let backing = (0..backing).map(|_| open(&base)).collect();
        let error = refused(&options, ImageFiles { image: open(image), direct: None, backing });
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // And as it should be.
    let backing = vec![File::open(&base).unwrap()];
    let files = ImageFiles { image: open(&options.path), direct: None, backing };
    BlockDevice::open_passed(options, files).unwrap().claim().unwrap();
}
