//! Why a disk could not be opened or changed.

use std::io;
use std::path::PathBuf;

use super::options::BlockOptions;

/// Why a disk could not be opened or changed. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file could not be opened.
    #[error("cannot open the disk image {path}: {source}", path = path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path is no file that can hold a disk.
    #[error("{path} is neither a file nor a block device, so it is no disk image", path = path.display())]
    NoImage {
        /// The path.
        path: PathBuf,
    },
    /// Another process, or another disk of this one, has the image open.
    #[error(
        "the disk image {path} is in use by another VM or process: an image that is written has one user; use readonly=on for all of \
         them to share it",
        path = path.display()
    )]
    Locked {
        /// The image.
        path: PathBuf,
    },
    /// The image could not be locked for another reason.
    #[error("cannot lock the disk image {path}: {source}", path = path.display())]
    Lock {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was written could not be made to last.
    #[error("cannot sync the disk image {path}: {source}", path = path.display())]
    Sync {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The image could not be opened anew, for another VMM.
    #[error("cannot open the disk image {path} anew to pass it: {source}", path = path.display())]
    Pass {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file system knows no direct I/O.
    #[error(
        "the file system of the disk image {path} has no direct I/O ({source}); use direct=off",
        path = path.display()
    )]
    Direct {
        /// The image.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The image's contents are not what they should be.
    #[error("the disk image {path} is not usable: {problem}", path = path.display())]
    Format {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The image refers to another file.
    #[error(
        "the disk image {path} has the backing file {backing}, which is read only with backing_files=on",
        path = path.display()
    )]
    BackingFile {
        /// The image.
        path: PathBuf,
        /// What it refers to, as it is written there.
        backing: String,
    },
    /// An image smaller than a sector.
    #[error("the disk image {path} is smaller than one sector of 512 bytes", path = path.display())]
    Empty {
        /// The image.
        path: PathBuf,
    },
    /// A number of queues that cannot be.
    #[error("a disk has 1 to {max} queues, not {0}", max = BlockOptions::MAX_QUEUES)]
    QueueCount(u16),
    /// A queue size that cannot be.
    #[error("the size of a disk's queue is a power of two from 4 to {max}, not {0}", max = BlockOptions::MAX_QUEUE_SIZE)]
    QueueSize(u16),
    /// A serial number that does not fit.
    #[error("the serial number {0:?} is longer than 20 bytes")]
    Serial(String),
    /// A limit that lets nothing through.
    #[error("a limit of {what} needs a size and a refill time above zero")]
    Limit {
        /// Bytes or requests.
        what: &'static str,
    },
    /// A size that a disk cannot have.
    #[error("a disk's size is a multiple of 512 bytes above zero, not {0}")]
    Size(u64),
    /// The image could not be resized.
    #[error("cannot resize the disk image {path} to {len} bytes: {source}", path = path.display())]
    Resize {
        /// The image.
        path: PathBuf,
        /// To which size.
        len: u64,
        /// Why not.
        source: io::Error,
    },
    /// The thread of a qcow2 image could not be started.
    #[error("cannot start the thread of the disk image {path}: {source}", path = path.display())]
    Thread {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
