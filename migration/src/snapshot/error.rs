//! What can go wrong with snapshots.

use std::io;
use std::path::{Path, PathBuf};

use super::{INCOMPLETE, MAX_CHAIN};
use crate::format::FormatError;
use crate::memory::InvalidLayout;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The host's storage refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the host says.
        source: io::Error,
    },
    /// The VM's memory cannot be read or filled.
    #[error("cannot {action} guest memory at page {page}: {source}")]
    Memory {
        /// What was tried.
        action: &'static str,
        /// The first page.
        page: u64,
        /// What the memory says.
        source: io::Error,
    },
    /// A snapshot cannot be called so.
    #[error("{} cannot be the name of a snapshot; it needs a name that does not end in {INCOMPLETE}", path.display())]
    Name {
        /// The name.
        path: PathBuf,
    },
    /// Something of that name is there.
    #[error("{} is there already", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// What an earlier attempt left, or one that is under way is at.
    #[error("{} is there already: a snapshot is being written, or was never finished; remove it if none is", path.display())]
    LeftBehind {
        /// What is there.
        path: PathBuf,
    },
    /// The snapshot was never finished.
    #[error("{} is an incomplete snapshot: writing it was not finished, and it cannot be restored", path.display())]
    Incomplete {
        /// Where.
        path: PathBuf,
    },
    /// A directory without a manifest.
    #[error("{} has no manifest: it is no snapshot, or one that was not finished", path.display())]
    NoManifest {
        /// Where.
        path: PathBuf,
    },
    /// A file's units are not in order.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A manifest says what cannot be.
    #[error("{}: {what}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What cannot be.
        what: String,
    },
    /// The regions in a manifest are no layout.
    #[error("{}: {source}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: InvalidLayout,
    },
    /// A file has another length than the manifest says.
    #[error("{} has {found} bytes; the manifest says {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A file is longer than may be.
    #[error("{} has {bytes} bytes; at most {limit} are allowed", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
        /// What it may have.
        limit: u64,
    },
    /// A file is not what the manifest was written for.
    #[error("{} is damaged: its checksum is wrong", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
    },
    /// A part of the memory is not what the manifest was written for.
    #[error("{} is damaged: the checksum of pages {first} to {last} is wrong", path.display())]
    MemoryChecksum {
        /// The file.
        path: PathBuf,
        /// The first page.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// The base is another one than the snapshot was made against.
    #[error("{} is not the base of {}: {what}", base.display(), path.display())]
    Base {
        /// The snapshot.
        path: PathBuf,
        /// What should be its base.
        base: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The chain of bases is too long, or has no end.
    #[error("{} would build on more than {MAX_CHAIN} snapshots, itself among them", path.display())]
    Chain {
        /// The snapshot.
        path: PathBuf,
    },
    /// The VM's memory lies elsewhere than the snapshot's.
    #[error("the memory of {} has another layout than the VM's", path.display())]
    OtherLayout {
        /// The snapshot.
        path: PathBuf,
    },
    /// A full snapshot ends without pages that were never copied.
    #[error("page {page} was never copied into the snapshot")]
    NotCopied {
        /// The first of them.
        page: u64,
    },
}

impl SnapshotError {
    /// For `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err`.
    pub(super) fn format(path: &Path) -> impl FnOnce(FormatError) -> Self {
        let path = path.to_owned();
        move |source| Self::Format { path, source }
    }
}
