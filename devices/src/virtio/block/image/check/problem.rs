//! Why an image is not written.

use std::fmt;
use std::io;

/// What a cluster is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::virtio::block::image) enum Use {
    Header,
    L1Table,
    L2Table,
    RefcountTable,
    RefcountBlock,
    Data,
    Compressed,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header",
            Self::L1Table => "the L1 table",
            Self::L2Table => "an L2 table",
            Self::RefcountTable => "the refcount table",
            Self::RefcountBlock => "a refcount block",
            Self::Data => "data",
            Self::Compressed => "compressed data",
        })
    }
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub(in crate::virtio::block::image) enum Problem {
    /// The host cannot read it.
    #[error("its tables cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It has internal snapshots, whose tables refer to the same clusters.
    #[error(
        "it has {count} internal snapshots, with which it is only read (readonly=on); qemu-img convert makes an image without"
    )]
    Snapshots {
        /// How many.
        count: u32,
    },
    /// A walk of it would take too long.
    #[error(
        "its tables are too large to be checked ({bytes} bytes are to be read), so it is only read (readonly=on); larger clusters need smaller tables"
    )]
    TooLarge {
        /// What a walk reads.
        bytes: u64,
    },
    /// A reference that leads nowhere.
    #[error(
        "{within} at {table:#x} refers to {target:#x}, {flaw}; qemu-img check -r all may repair it"
    )]
    Reference {
        /// Where it is.
        within: Use,
        /// Where that is, in bytes of the file.
        table: u64,
        /// Where it leads to.
        target: u64,
        /// What is wrong with that.
        flaw: Flaw,
    },
    /// Two tables in one, or data in a table.
    #[error(
        "the cluster at {offset:#x} is used for {used} and for something else; qemu-img check -r all may repair it"
    )]
    Overlap {
        /// The second use that was met.
        used: Use,
        /// The cluster, in bytes of the file.
        offset: u64,
    },
    /// More references than are counted.
    #[error(
        "the cluster at {offset:#x} has a refcount of {counted} and is in use ({found} references); qemu-img check -r all may repair it"
    )]
    Uncounted {
        /// The cluster, in bytes of the file.
        offset: u64,
        /// Its refcount.
        counted: u64,
        /// How often it is referred to.
        found: u64,
    },
}

/// What is wrong with the target of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::virtio::block::image) enum Flaw {
    Unaligned,
    Outside,
    Reserved,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unaligned => "which is not the beginning of a cluster",
            Self::Outside => "which is not within the file",
            Self::Reserved => "with reserved bits set",
        })
    }
}

/// A flaw, and where the reference leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flawed {
    pub target: u64,
    pub flaw: Flaw,
}

impl Flawed {
    /// As an image's problem, found in a table at this offset.
    pub fn of(self, within: Use, table: u64) -> Problem {
        Problem::Reference { within, table, target: self.target, flaw: self.flaw }
    }
}
