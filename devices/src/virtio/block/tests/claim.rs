//! An image that goes from one VMM to another and back while both have it open.

use super::*;
use crate::virtio::block::{Access, BlockError};

const DATA: usize = 300 * SECTOR;

/// The same disk in another VMM.
fn elsewhere(options: &BlockOptions) -> Rig {
    let device = BlockDevice::open_unclaimed(options.clone()).unwrap();
    Rig::of(device, feature::FLUSH, options.queue_size)
}

fn goes_there_and_back(options: &BlockOptions) {
    let mut here = Rig::open(options.clone());
    let first = pattern(DATA, 7);
    assert_eq!(here.write(3, &first), OK);
    let mut there = elsewhere(options);
    assert_eq!(there.device.size(), here.device.size());
    for _ in 0..2 {
        let refused = there.device.claim().unwrap_err();
        assert!(matches!(refused, BlockError::Locked { .. }), "{refused}");
    }
    // What was written after the other one was opened is seen by it all the same.
    let second = pattern(DATA, 11);
    assert_eq!(here.write(1003, &second), OK);
    here.device.sync().unwrap();

    here.device.release().unwrap();
    here.device.release().unwrap();
    there.device.claim().unwrap();
    there.device.claim().unwrap();
    assert!(there.read(3, DATA) == first && there.read(1003, DATA) == second);
    assert!(matches!(here.device.claim(), Err(BlockError::Locked { .. })));
    let third = pattern(DATA, 13);
    assert_eq!(there.write(3, &third), OK);

    there.device.release().unwrap();
    here.device.claim().unwrap();
    assert!(here.read(3, DATA) == third && here.read(1003, DATA) == second);
    assert_eq!(here.write(1003, &first), OK);
    // Gone for good: the lock is free when the device is.
    here.device.release().unwrap();
    drop(here);
    there.device.claim().unwrap();
    assert!(there.read(1003, DATA) == first);
    drop(there);
}

#[test]
fn a_raw_image_goes_there_and_back() {
    let dir = TempDir::new().unwrap();
    goes_there_and_back(&BlockOptions::new("disk0", raw_image(dir.path(), 2048)));
}

#[test]
fn a_qcow2_image_goes_there_and_back_with_its_tables() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.qcow2");
    qcow2::create(&path, 8 << 20);
    goes_there_and_back(&BlockOptions::new("disk0", &path));
    qcow2::check(&path);
}

#[test]
fn a_qcow2_image_that_another_vmm_has_gives_errors_and_no_stale_data() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.qcow2");
    qcow2::create(&path, 8 << 20);
    let mut there = elsewhere(&BlockOptions::new("disk0", &path));
    let (status, _) = there.request(IN, 0, &[], 512);
    assert_eq!(status, IO_ERROR);
    assert_eq!(there.write(0, &[1; SECTOR]), IO_ERROR);
    there.device.claim().unwrap();
    assert_eq!(there.write(0, &[1; SECTOR]), OK);
}

#[test]
fn an_image_that_is_only_read_is_shared_all_the_while() {
    let dir = TempDir::new().unwrap();
    let path = raw_image(dir.path(), 8);
    let options = BlockOptions { access: Access::ReadOnly, ..BlockOptions::new("disk0", path) };
    let here = Rig::open(options.clone());
    let mut there = elsewhere(&options);
    there.device.claim().unwrap();
    here.device.release().unwrap();
    assert!(there.read(0, SECTOR).iter().all(|byte| *byte == 0));
    here.device.claim().unwrap();
}
