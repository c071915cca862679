//! The open files of an image, for another VMM that may have no access to their paths, or find others there.
//!
//! ```text
//!   source:       image ─opened anew─▶ ImageFiles ─▶ (passed)          keeps its own descriptors, and its lock until it gives that up
//!   destination:  (passed) ─▶ ImageFiles ─check─▶ image, unclaimed ─claim: locks what was passed─▶ claimed
//! ```
//!
//! A lock belongs to an open file description, and a descriptor that is passed shares that of the sender. Were the image's own descriptor passed, both VMMs would
//! have one lock: either could take it whenever it liked, and who gives up would unlock the other's. So whoever passes an image opens it anew first, by its descriptor and not by its
//! path, and locks change hands as between VMMs that have opened the image each by itself.
//!
//! Invariants:
//! - The image and its backing files are passed through descriptions that nobody else uses. Only the descriptor for direct I/O, which nobody locks, is shared.
//! - What was passed is checked before it is used: files or block devices, open for what the disk does with them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::Errno;

use super::{Image, unusable};
use crate::virtio::block::error::BlockError;
use crate::virtio::block::options::{Access, BlockOptions, Caching, ImageType};

/// All that a disk's image consists of, open.
#[derive(Debug)]
pub struct ImageFiles {
    /// The image.
    pub image: File,
    /// The same file for direct I/O, if it is a raw image whose disk passes the page cache by.
    pub direct: Option<File>,
    /// The backing files of a qcow2 image, each followed by its own.
    pub backing: Vec<File>,
}

impl ImageFiles {
    /// Whether they are files, open for what a disk with these options does with them.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn check_open(&self, options: &BlockOptions) -> Result<(), BlockError> {
        let image = std::iter::once((&self.image, options.access, "the image"));
        let direct = self.direct.iter();
        let direct = direct.map(|file| (file, options.access, "the image's file for direct I/O"));
        let backing = self.backing.iter().map(|file| (file, Access::ReadOnly, "a backing file"));
        image.chain(direct).chain(backing).try_for_each(|(file, access, name)| {
            check_one(file, access).map_err(|what| not_passed(options, &format!("{name} {what}")))
        })
    }

    /// Whether they are those of an image of this type.
    ///
    /// # Errors
    /// One is missing or left over.
    pub(super) fn check(
        &self,
        image_type: ImageType,
        options: &BlockOptions,
    ) -> Result<(), BlockError> {
        let wrong = |problem| not_passed(options, problem);
        let needs_direct = image_type == ImageType::Raw && options.caching == Caching::Direct;
        match (&self.direct, needs_direct) {
            (None, true) => return Err(wrong("the image's file for direct I/O is missing")),
            (Some(_), false) => return Err(wrong("a file for direct I/O is left over")),
            (Some(direct), true) if !is_same(direct, &self.image) => {
                return Err(wrong("the file for direct I/O is another one than the image"));
            }
            _ => {}
        }
        if image_type == ImageType::Raw && !self.backing.is_empty() {
            return Err(wrong("backing files of a raw image are left over"));
        }
        Ok(())
    }
}

fn not_passed(options: &BlockOptions, problem: &str) -> BlockError {
    unusable(&options.path, format!("what was passed: {problem}"))
}

/// What is wrong with a file that was passed.
fn check_one(file: &File, access: Access) -> Result<(), String> {
    let unknown = |errno: Errno| format!("cannot be looked at: {errno}");
    let kind = FileType::from_raw_mode(fstat(file).map_err(unknown)?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        return Err("is neither a file nor a block device".to_owned());
    }
    let flags = fcntl_getfl(file).map_err(unknown)?;
    let mode = flags & OFlags::RWMODE;
    let fits = match access {
        Access::ReadWrite => mode == OFlags::RDWR,
        Access::ReadOnly => mode == OFlags::RDONLY || mode == OFlags::RDWR,
    };
    if flags.intersects(OFlags::PATH | OFlags::APPEND) || !fits {
        return Err("is not open for what the disk does".to_owned());
    }
    Ok(())
}

fn is_same(one: &File, other: &File) -> bool {
    let place = |file: &File| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

/// The same file, through a description of its own, wherever its path leads by now.
pub(super) fn open_again(file: &File, access: Access, also: OFlags) -> Result<File, Errno> {
    let mode = match access {
        Access::ReadWrite => OFlags::RDWR,
        Access::ReadOnly => OFlags::RDONLY,
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(path, mode | also | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}

impl Image {
    /// Its files, for another VMM. Nothing changes here.
    ///
    /// # Errors
    /// The host does not open them anew: it has no descriptor left, or this process may not any more.
    pub fn files(&self, access: Access, path: &Path) -> Result<ImageFiles, BlockError> {
        let again = |file: &File, access| {
            open_again(file, access, OFlags::empty()).map_err(io::Error::from)
        };
        let opened = match self {
            Self::Raw(raw, _) => again(&raw.cached, access).and_then(|image| {
                let direct = raw.direct.as_ref().map(File::try_clone).transpose()?;
                Ok(ImageFiles { image, direct, backing: Vec::new() })
            }),
            Self::Qcow2(_, kept) => again(&kept.image, access).and_then(|image| {
                let backing = kept.backing().iter().map(|file| again(file, Access::ReadOnly));
                Ok(ImageFiles { image, direct: None, backing: backing.collect::<Result<_, _>>()? })
            }),
        };
        opened.map_err(|source| BlockError::Pass { path: path.to_owned(), source })
    }
}
