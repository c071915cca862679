//! What a disk is made from, as a configuration fills it in.

use std::path::PathBuf;

use super::error::BlockError;
use crate::virtio::limit::{Limits, TokenBucket};

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockOptions {
    /// What it is called in messages and counters.
    pub id: String,
    /// The image: a regular file or a block device.
    pub path: PathBuf,
    /// What the guest may do.
    pub access: Access,
    /// Whether the host's page cache is used.
    pub caching: Caching,
    /// The image's format. Without one it is told by the image's first bytes, and then a raw image refuses
    /// writes that would make it look like another format.
    pub image_type: Option<ImageType>,
    /// Whether a qcow2 image may refer to other files.
    pub backing_files: BackingFiles,
    /// What moves the data of raw images.
    pub engine: Engine,
    /// Queues, each with a thread of its own: 1 to [`BlockOptions::MAX_QUEUES`].
    pub num_queues: u16,
    /// Descriptors of each queue: a power of two from 4 to [`BlockOptions::MAX_QUEUE_SIZE`].
    pub queue_size: u16,
    /// The serial number that the guest sees, of at most 20 bytes; without one it is the id, cut.
    pub serial: Option<String>,
    /// What the guest may move in a time.
    pub limits: Limits,
}

impl BlockOptions {
    /// The greatest number of queues.
    pub const MAX_QUEUES: u16 = 64;
    /// The greatest size of a queue.
    pub const MAX_QUEUE_SIZE: u16 = 1024;

    /// A disk that can be written, of one queue and whatever format.
    #[must_use]
    pub fn new(id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            path: path.into(),
            access: Access::ReadWrite,
            caching: Caching::Buffered,
            image_type: None,
            backing_files: BackingFiles::Refused,
            engine: Engine::Fitting,
            num_queues: 1,
            queue_size: 128,
            serial: None,
            limits: Limits::default(),
        }
    }

    /// Whether numbers and sizes are such as a disk can have.
    pub(super) fn check(&self) -> Result<(), BlockError> {
        let Self { num_queues, queue_size, limits, .. } = self;
        if !(1..=Self::MAX_QUEUES).contains(num_queues) {
            return Err(BlockError::QueueCount(*num_queues));
        }
        let sizes = 4..=Self::MAX_QUEUE_SIZE;
        if !queue_size.is_power_of_two() || !sizes.contains(queue_size) {
            return Err(BlockError::QueueSize(*queue_size));
        }
        let idle = |bucket: &Option<TokenBucket>| {
            bucket.is_some_and(|bucket| bucket.size == 0 || bucket.refill_time.is_zero())
        };
        if idle(&limits.bandwidth) {
            return Err(BlockError::Limit { what: "bytes" });
        }
        if idle(&limits.operations) {
            return Err(BlockError::Limit { what: "requests" });
        }
        Ok(())
    }
}

/// What the guest may do with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and write. The image belongs to one VM alone.
    ReadWrite,
    /// Read. Others may read the image, too; nobody may write it.
    ReadOnly,
}

/// Whether the host's page cache is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// It is.
    Buffered,
    /// It is passed by (`O_DIRECT`).
    Direct,
}

/// Formats of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageType {
    /// The bytes of the disk.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

/// Whether a qcow2 image may refer to other files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingFiles {
    /// An image that does is refused.
    Refused,
    /// Backing files are opened for reading. They are files on this host.
    Followed,
}

/// What moves the data of raw images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// What fits the image: blocking calls where it is in the host's memory anyway (tmpfs), else io_uring. For a file of tmpfs the
    /// kernel would hand each operation of a ring to a thread of its own, which takes longer than the operation.
    Fitting,
    /// io_uring, or blocking calls where the host has none.
    IoUring,
    /// Blocking calls.
    Blocking,
}
