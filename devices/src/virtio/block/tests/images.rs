//! Opening images: locks, formats, and what is no image.

use std::os::fd::AsRawFd;

use super::*;
use crate::virtio::block::image::{Claim, open_image};
use crate::virtio::block::{Access, BlockError, ImageType};

fn with(path: &Path, access: Access) -> Result<BlockDevice, BlockError> {
    BlockDevice::open(BlockOptions { access, ..BlockOptions::new("disk0", path) })
}

#[test]
fn an_image_has_one_writer_or_any_number_of_readers() {
    let dir = TempDir::new().unwrap();
    let path = raw_image(dir.path(), 8);
    let locked = |result: Result<BlockDevice, BlockError>| {
        let error = result.err().expect("it is locked");
        assert!(matches!(error, BlockError::Locked { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("disk.raw is in use by another VM or process"), "{text}");
    };
    let writer = with(&path, Access::ReadWrite).unwrap();
    locked(with(&path, Access::ReadWrite));
    locked(with(&path, Access::ReadOnly));
    drop(writer);
    let readers = [with(&path, Access::ReadOnly).unwrap(), with(&path, Access::ReadOnly).unwrap()];
    locked(with(&path, Access::ReadWrite));
    drop(readers);
    with(&path, Access::ReadWrite).unwrap();
}

#[test]
fn the_lock_is_kept_over_resets() {
    let rig = Rig::raw(8, |_| ());
    rig.device.reset();
    drop(rig.runner);
    assert!(matches!(
        with(&rig.dir.as_ref().unwrap().path().join("disk.raw"), Access::ReadWrite),
        Err(BlockError::Locked { .. })
    ));
}

#[test]
fn what_is_no_image_is_told() {
    let dir = TempDir::new().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, [0; 511]).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    for (path, expected) in [
        (dir.path().join("missing"), "cannot open the disk image"),
        (dir.path().to_owned(), "neither a file nor a block device"),
        (fifo, "neither a file nor a block device"),
        (PathBuf::from("/dev/null"), "neither a file nor a block device"),
        (empty, "smaller than one sector"),
    ] {
        let error = with(&path, Access::ReadWrite).err().expect("no image").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn queues_that_cannot_be_are_refused() {
    let dir = TempDir::new().unwrap();
    let path = raw_image(dir.path(), 8);
    for num_queues in [0, 65] {
        let options = BlockOptions { num_queues, ..BlockOptions::new("disk0", &path) };
        assert!(matches!(BlockDevice::open(options), Err(BlockError::QueueCount(_))));
    }
    for queue_size in [0, 1, 2, 3, 100, 2048] {
        let options = BlockOptions { queue_size, ..BlockOptions::new("disk0", &path) };
        assert!(matches!(BlockDevice::open(options), Err(BlockError::QueueSize(_))));
    }
}

/// The first sector of something that is no raw image.
fn disguise() -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[..4].copy_from_slice(b"QFI\xfb");
    sector
}

#[test]
fn a_raw_image_that_was_told_by_its_bytes_is_not_made_to_look_like_another() {
    for engine in ENGINES {
        let mut rig = Rig::raw(64, |options| options.engine = engine);
        assert_eq!(rig.write(0, &disguise()), IO_ERROR);
        let mut longer = disguise().to_vec();
        longer.extend([1; 3 * SECTOR]);
        assert_eq!(rig.write(0, &longer), IO_ERROR);
        assert!(rig.read(0, SECTOR).iter().all(|byte| *byte == 0));
        assert_eq!(rig.write(1, &disguise()), OK, "elsewhere it is data");
        assert_eq!(rig.write(0, &[7; 400]), IO_ERROR, "no whole sector");
        assert_eq!(rig.write(0, &[7; 4 * SECTOR]), OK);
        assert!(rig.read(0, 4 * SECTOR).iter().all(|byte| *byte == 7));
    }
}

#[test]
fn an_image_that_is_said_to_be_raw_holds_anything_and_stays_raw() {
    for engine in ENGINES {
        let mut rig = Rig::raw(64, |options| {
            options.engine = engine;
            options.image_type = Some(ImageType::Raw);
        });
        assert_eq!(rig.write(0, &disguise()), OK);
        let path = rig.path();
        let Rig { device, runner, dir, .. } = rig;
        drop((device, runner));
        let image_type = Some(ImageType::Raw);
        let again =
            BlockDevice::open(BlockOptions { image_type, ..BlockOptions::new("disk0", &path) });
        assert_eq!(again.unwrap().size(), 64 * 512);
        // Whoever leaves the type out is told that this is no usable qcow2 image.
        assert!(matches!(with(&path, Access::ReadOnly), Err(BlockError::Format { .. })));
        drop(dir);
    }
}

#[test]
fn an_image_in_memory_is_read_and_written_by_the_worker_itself() {
    let memory = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 4096).unwrap();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let image = open_image(&BlockOptions::new("disk0", path), Claim::Now).unwrap().image;
    // A backend has no descriptor if every operation ends while it is being submitted.
    let is_blocking = |engine| image.backend(engine, 8).unwrap().fd().is_none();
    let no_rings = crate::virtio::block::backend::is_available().is_err();
    let expected = [(Engine::Fitting, true), (Engine::Blocking, true), (Engine::IoUring, no_rings)];
    for (engine, blocking) in expected {
        assert_eq!(is_blocking(engine), blocking, "{engine:?}");
    }
}
