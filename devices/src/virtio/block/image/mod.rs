//! A disk's image: opened, locked and understood once, and kept over reboots.
//!
//! **Which format it is.** An explicit `image_type` is believed. Without one, an image that begins with the qcow2
//! magic is qcow2, all else is raw. A raw image whose guest writes a qcow2 header into its first sector must
//! never be taken for one afterwards, since that header could name any file of the host as its backing file. So a raw
//! image whose format was *told by its bytes* refuses writes that would make it begin with that magic
//! (`Guard::FirstBytes`); with `image_type=raw` the guest may write whatever it wants, and the image stays raw as long as
//! it is opened like that.

mod check;
mod claim;
mod files;
mod header;
mod lock;
mod open;
mod qcow2;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fstatfs, ioctl_blksszget, statx};

pub(super) use self::claim::Claim;
use self::claim::Kept;
pub use self::files::ImageFiles;
use self::files::open_again;
use self::lock::Lock;
pub(super) use self::open::{Opened, open_image};
use super::backend::{Backend, Blocking, Service, Uring};
use super::error::BlockError;
use super::options::{BlockOptions, Caching, Engine};
use super::reach::{Reach, Via};

pub(super) use header::MAGIC;

/// What must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Everything may be.
    None,
    /// Nothing that makes the image look like another format.
    FirstBytes,
}

/// An open image.
pub(super) enum Image {
    /// The bytes of the disk.
    Raw(Arc<RawImage>, Guard),
    /// Read and written by a thread of its own.
    Qcow2(Arc<Service>, Kept),
}

/// The file of a raw image.
pub(super) struct RawImage {
    /// Goes through the page cache.
    cached: File,
    /// Passes it by.
    direct: Option<File>,
    /// What `direct` asks for.
    reach: Reach,
    kind: FileType,
    place: Place,
    /// Released with the last user of the image, if not before.
    lock: ArcSwapOption<Lock>,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On storage; the kernel may have to wait for it.
    Storage,
    /// In the host's memory, and nowhere else.
    Memory,
}

impl Place {
    /// TMPFS_MAGIC (`include/uapi/linux/magic.h`).
    const TMPFS: i64 = 0x0102_1994;

    fn of(file: &File) -> Self {
        let in_memory = fstatfs(file).is_ok_and(|it| it.f_type == Self::TMPFS);
        if in_memory { Self::Memory } else { Self::Storage }
    }
}

impl RawImage {
    fn new(
        (cached, direct): (File, Option<File>),
        lock: Option<Lock>,
        kind: FileType,
        options: &BlockOptions,
    ) -> Result<Self, BlockError> {
        let (direct, reach) = match options.caching {
            Caching::Buffered => (None, Reach::Anywhere),
            Caching::Direct => {
                let direct = match direct {
                    Some(direct) => Ok(direct),
                    None => open_again(&cached, options.access, OFlags::DIRECT),
                };
                let direct = direct.map_err(|errno| BlockError::Direct {
                    path: options.path.clone(),
                    source: errno.into(),
                })?;
                let reach = alignment(&direct, kind);
                (Some(direct), reach)
            }
        };
        let (place, lock) = (Place::of(&cached), ArcSwapOption::from_pointee(lock));
        Ok(Self { cached, direct, reach, kind, place, lock })
    }

    /// The file for operations of this kind.
    pub fn file(&self, via: Via) -> BorrowedFd<'_> {
        match (via, &self.direct) {
            (Via::Direct, Some(direct)) => direct.as_fd(),
            _ => self.cached.as_fd(),
        }
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        if self.kind == FileType::RegularFile {
            return self.cached.set_len(len);
        }
        if len > (&self.cached).seek(SeekFrom::End(0))? {
            return Err(io::Error::other("the block device is smaller"));
        }
        Ok(())
    }
}

/// What direct I/O asks for: as the kernel says, or what suffices everywhere.
fn alignment(file: &File, kind: FileType) -> Reach {
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    if let Ok(told) = told
        && told.stx_dio_mem_align.is_power_of_two()
        && told.stx_dio_offset_align.is_power_of_two()
    {
        return Reach::Aligned {
            memory: told.stx_dio_mem_align,
            offset: told.stx_dio_offset_align,
        };
    }
    let sector = (kind == FileType::BlockDevice).then(|| ioctl_blksszget(file).ok()).flatten();
    let offset = sector.filter(|sector| sector.is_power_of_two()).unwrap_or(4096);
    Reach::Aligned { memory: 4096, offset }
}

impl Image {
    /// What it asks of memory and offsets.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Raw(raw, _) => raw.reach,
            Self::Qcow2(..) => Reach::Private,
        }
    }

    /// What must not be written to it.
    pub fn guard(&self) -> Guard {
        match self {
            Self::Raw(_, guard) => *guard,
            Self::Qcow2(..) => Guard::None,
        }
    }

    /// What carries operations out for a worker.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn backend(&self, engine: Engine, depth: u16) -> io::Result<Box<dyn Backend>> {
        let raw = match self {
            Self::Qcow2(service, _) => return Ok(Box::new(service.client(depth)?)),
            Self::Raw(raw, _) => raw,
        };
        let rings = match engine {
            Engine::Fitting => raw.place == Place::Storage,
            Engine::IoUring => true,
            Engine::Blocking => false,
        };
        if rings {
            match Uring::new(Arc::clone(raw), depth) {
                Ok(ring) => return Ok(Box::new(ring)),
                Err(error) => {
                    tracing::warn!(%error, "no io_uring for a disk; it uses blocking calls");
                }
            }
        }
        Ok(Box::new(Blocking::new(Arc::clone(raw))))
    }

    /// Changes the length of the image.
    ///
    /// # Errors
    /// The host, or the format, refuses it.
    pub fn resize(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Raw(raw, _) => raw.resize(len),
            Self::Qcow2(service, _) => service.resize(len),
        }
    }
}

/// A format error of an image.
fn unusable(path: &Path, problem: impl Into<String>) -> BlockError {
    BlockError::Format { path: PathBuf::from(path), problem: problem.into() }
}
