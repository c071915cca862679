//! A qcow2 image, through the library imago.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

use crossbeam_queue::SegQueue;
use imago::file::File as Storage;
use imago::format::PreallocateMode;
use imago::format::gate::ImplicitOpenGate;
use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatDriverBuilder, StorageOpenOptions};

use super::check;
use super::header::{self, Header};
use super::lock::Lock;
use super::open::{has_magic, open_file};
use super::unusable;
use crate::virtio::block::backend::Image;
use crate::virtio::block::error::BlockError;
use crate::virtio::block::options::{Access, BackingFiles, BlockOptions, Caching};

/// Backing files of backing files, at most.
const MAX_CHAIN: u32 = 16;

/// An opened image and the length of its disk.
pub(super) struct Opened {
    pub image: Qcow2Image,
    pub len: u64,
    /// What the image refers to, each followed by what that refers to.
    pub backing: Vec<File>,
}

/// The locks of an image and of what it refers to.
type Locks = Arc<SegQueue<Lock>>;

/// An image that imago reads and writes.
pub(super) struct Qcow2Image {
    format: FormatAccess<Storage>,
    /// Of the image and of its backing files; behind the format, which writes when it is dropped.
    _locks: Locks,
}

/// Opens an image in a file that is locked already. Its backing files are those that are open already, if they are given; otherwise they are looked for
/// by their names.
pub(super) fn open(
    file: File,
    lock: Lock,
    backing: Option<&[File]>,
    options: &BlockOptions,
) -> Result<Opened, BlockError> {
    let path = &options.path;
    let failed = |source| BlockError::Open { path: path.clone(), source };
    buffered(&file).map_err(failed)?;
    let (len, header) = checked(&file).map_err(|problem| unusable(path, problem))?;
    if let (Some(backing), BackingFiles::Refused) = (&header.backing, options.backing_files) {
        return Err(BlockError::BackingFile { path: path.clone(), backing: backing.clone() });
    }
    let writable = options.access == Access::ReadWrite;
    if writable {
        // Before the library sees it: opening for writing may write already.
        check::check(&file, len, &header).map_err(|problem| unusable(path, problem.to_string()))?;
    }
    let direct = options.caching == Caching::Direct;
    if direct {
        let flags = rustix::fs::fcntl_getfl(&file)
            .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::DIRECT));
        flags.map_err(|errno| BlockError::Direct { path: path.clone(), source: errno.into() })?;
    }
    let locks = Locks::default();
    locks.push(lock);
    let source = match backing {
        None => Source::Names,
        Some(files) => {
            let queue = SegQueue::new();
            for file in files {
                queue.push(file.try_clone().map_err(failed)?);
            }
            Source::Open(Arc::new(queue))
        }
    };
    let opened = Arc::new(SegQueue::new());
    let build = || {
        // Relative names of backing files begin where the image is.
        let name = std::path::absolute(path)?;
        let settings = StorageOpenOptions::new().filename(name).write(writable).direct(direct);
        let storage = Storage::from_open_file(file, settings)?;
        let (locks, source, opened) = (Arc::clone(&locks), source.clone(), Arc::clone(&opened));
        let gate = Gate { depth: MAX_CHAIN, locks, source, opened };
        Qcow2::<Storage>::builder(storage).write(writable).open(gate)
    };
    // What the library does with bytes that it did not write must not end the VMM.
    let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(build));
    let built = built.unwrap_or_else(|_| Err(io::Error::other("the image's library has panicked")));
    let format = FormatAccess::new(built.map_err(|error| unusable(path, error.to_string()))?);
    if let Source::Open(rest) = source
        && !rest.is_empty()
    {
        return Err(unusable(path, format!("{} backing files are left over", rest.len())));
    }
    let backing = std::iter::from_fn(|| opened.pop()).collect();
    Ok(Opened { image: Qcow2Image { format, _locks: locks }, len: header.size, backing })
}

/// Takes back what an earlier opening has made of the description: headers and tables are checked by reads of any length.
fn buffered(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    if flags.contains(rustix::fs::OFlags::DIRECT) {
        rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::DIRECT)?;
    }
    Ok(())
}

/// How long the disk is in an image that another VMM has; it changes by a resize only. What was passed of backing files has to fit the image.
pub(super) fn disk_len(
    file: &File,
    passed: Option<&[File]>,
    options: &BlockOptions,
) -> Result<u64, BlockError> {
    let path = &options.path;
    let (_, header) = checked(file).map_err(|problem| unusable(path, problem))?;
    match (&header.backing, passed) {
        (Some(name), Some([])) => {
            return Err(unusable(path, format!("its backing file {name} was not passed")));
        }
        (None, Some([_, ..])) => {
            return Err(unusable(path, "it has no backing file, and one was passed"));
        }
        _ => {}
    }
    Ok(header.size)
}

/// How long the file is, and its header.
fn checked(mut file: &File) -> Result<(u64, Header), String> {
    let len = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    Ok((len, header::check(file, len)?))
}

/// Where backing files come from.
#[derive(Clone)]
enum Source {
    /// They are opened by the names that images call them.
    Names,
    /// They are open, in the order in which images refer to each other.
    Open(Arc<SegQueue<File>>),
}

/// Opens what an image refers to: files of this host, for reading, shared, and checked as the image was.
struct Gate {
    /// How many more may be below.
    depth: u32,
    locks: Locks,
    source: Source,
    /// What was opened, in order.
    opened: Arc<SegQueue<File>>,
}

impl ImplicitOpenGate<Storage> for Gate {
    fn open_format<F: FormatDriverBuilder<Storage>>(
        &mut self,
        builder: F,
    ) -> io::Result<FormatAccess<Storage>> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| io::Error::other("too many backing files"))?;
        let (locks, opened) = (Arc::clone(&self.locks), Arc::clone(&self.opened));
        let below = Self { depth, locks, source: self.source.clone(), opened };
        Ok(FormatAccess::new(builder.open(below)?))
    }

    fn open_storage(&mut self, settings: StorageOpenOptions) -> io::Result<Storage> {
        let denied = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why);
        if settings.get_writable() {
            return Err(denied("an image that is written in another file"));
        }
        let path = settings.get_filename().ok_or_else(|| denied("it has no name"))?;
        let file = match &self.source {
            Source::Names => open_file(path, Access::ReadOnly).map_err(io::Error::other)?,
            Source::Open(files) => files.pop().ok_or_else(|| {
                io::Error::other(format!("its backing file {} was not passed", path.display()))
            })?,
        };
        self.locks.push(Lock::take(&file, Access::ReadOnly)?);
        if has_magic(&file)? {
            checked(&file).map_err(io::Error::other)?;
        }
        self.opened.push(file.try_clone()?);
        Storage::from_open_file(file, settings.direct(false))
    }
}

impl Image for Qcow2Image {
    fn read(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.format.read(data, offset)
    }

    fn write(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.format.write(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.format.flush()?;
        self.format.sync()
    }

    fn deallocate(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.format.discard_to_zero(offset, len)
    }

    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.format.write_zeroes(offset, len)
    }

    fn resize(&mut self, len: u64) -> io::Result<()> {
        self.format.resize(len, PreallocateMode::Zero)
    }
}
