//! How an image is opened: by its path, or from what another VMM has passed of it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use super::claim::{Claim, Kept, Unclaimed};
use super::lock::Lock;
use super::{Guard, Image, MAGIC, RawImage, qcow2};
use crate::virtio::block::backend::{self, Service};
use crate::virtio::block::error::BlockError;
use crate::virtio::block::options::{Access, BlockOptions, ImageType};

/// An opened image and how long its disk is, in bytes.
pub(in crate::virtio::block) struct Opened {
    pub image: Image,
    pub len: u64,
}

/// Opens an image, or takes what was passed of it, and locks it unless that is for later.
///
/// # Errors
/// See [`BlockError`].
pub(in crate::virtio::block) fn open_image(
    options: &BlockOptions,
    claim: Claim,
) -> Result<Opened, BlockError> {
    let path = &options.path;
    let fail = |source| BlockError::Open { path: path.clone(), source };
    let (file, passed, locks) = match claim {
        Claim::Now => (open_file(path, options.access)?, None, true),
        Claim::Later => (open_file(path, options.access)?, None, false),
        Claim::Passed(files) => {
            files.check_open(options)?;
            (files.image.try_clone().map_err(fail)?, Some(files), false)
        }
    };
    let lock = locks.then(|| take_lock(&file, options)).transpose()?;
    let kind =
        FileType::from_raw_mode(fstat(&file).map_err(io::Error::from).map_err(fail)?.st_mode);
    let len = (&file).seek(SeekFrom::End(0)).map_err(fail)?;
    let (image_type, guard) = match options.image_type {
        Some(image_type) => (image_type, Guard::None),
        None if has_magic(&file).map_err(fail)? => (ImageType::Qcow2, Guard::None),
        None => (ImageType::Raw, Guard::FirstBytes),
    };
    if let Some(passed) = &passed {
        passed.check(image_type, options)?;
    }
    match image_type {
        ImageType::Raw => {
            let direct = passed.and_then(|passed| passed.direct);
            let raw = RawImage::new((file, direct), lock, kind, options)?;
            Ok(Opened { image: Image::Raw(Arc::new(raw), guard), len })
        }
        ImageType::Qcow2 => {
            let is_claimed = lock.is_some();
            let image_file = file.try_clone().map_err(fail)?;
            let passed = passed.map(|passed| passed.backing);
            let (image, len, backing): (Box<dyn backend::Image>, _, _) = match lock {
                Some(lock) => {
                    let opened = qcow2::open(file, lock, passed.as_deref(), options)?;
                    (Box::new(opened.image), opened.len, Some(opened.backing))
                }
                None => (
                    Box::new(Unclaimed),
                    qcow2::disk_len(&file, passed.as_deref(), options)?,
                    passed,
                ),
            };
            let service = Service::start(&options.id, image)
                .map_err(|source| BlockError::Thread { path: path.clone(), source })?;
            let kept = Kept::new(is_claimed, image_file, backing);
            Ok(Opened { image: Image::Qcow2(Arc::new(service), kept), len })
        }
    }
}

pub(super) fn take_lock(file: &File, options: &BlockOptions) -> Result<Lock, BlockError> {
    let path = || options.path.clone();
    Lock::take(file, options.access).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => BlockError::Locked { path: path() },
        _ => BlockError::Lock { path: path(), source },
    })
}

/// Opens a file or block device, and nothing else.
pub(super) fn open_file(path: &Path, access: Access) -> Result<File, BlockError> {
    let fail = |errno: Errno| BlockError::Open { path: path.to_owned(), source: errno.into() };
    let mode = match access {
        Access::ReadWrite => OFlags::RDWR,
        Access::ReadOnly => OFlags::RDONLY,
    };
    // Non-blocking, for a pipe's sake; it means nothing for files.
    let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open(path, flags, Mode::empty()) {
        Err(Errno::ISDIR) => return Err(BlockError::NoImage { path: path.to_owned() }),
        opened => opened.map_err(fail)?,
    };
    let stat = fstat(&fd).map_err(fail)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => Ok(File::from(fd)),
        _ => Err(BlockError::NoImage { path: path.to_owned() }),
    }
}

pub(super) fn has_magic(file: &File) -> io::Result<bool> {
    let mut first = [0; MAGIC.len()];
    match file.read_exact_at(&mut first, 0) {
        Ok(()) => Ok(first == MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
