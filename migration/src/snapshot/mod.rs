//! A VM in a directory.
//!
//! ```text
//!   DIR/config.json   the VM's configuration, as the caller gave it
//!   DIR/state         units of `format`
//!   DIR/memory        all pages of the layout in their order; sparse, so that it can be mapped as it is
//!   DIR/manifest      units: what the snapshot is, its base, checksums, and which pages of `memory` mean what
//! ```
//!
//! ```text
//!            create                    copy …                finish: state, memory, manifest, each synced
//!   nothing ───────▶ DIR.incomplete/ ───────▶ DIR.incomplete/ ─────────────────────────▶ rename ──▶ DIR/
//!                          │ error: removed again                                           (and sync of the parent)
//!                          └ crash: stays, and is refused by its name
//! ```
//!
//! A *full* snapshot has every page; what its manifest does not list is zeros. A *differential* one has the pages that
//! changed since its base, those that became zeros listed as such, and names the base by path, id and checksum.
//!
//! Invariants:
//! - Under its own name a snapshot is whole and on the disk, or is not there: whatever fails or crashes at whatever byte.
//! - What is restored is what was saved: configuration, state and every extent of memory have checksums, and a base
//!   that is another one than the snapshot was made against is refused.
//! - Pages copied later take the place of those copied before, so the guest may run until the last pass.
//! - Reading allocates no more than a small multiple of what the files hold.

mod chain;
mod error;
mod inspect;
mod manifest;
mod pipeline;
mod read;
mod storage;
mod table;
mod write;

pub use error::SnapshotError;
pub use inspect::Summary;
pub use manifest::SnapshotId;
pub use read::Snapshot;
pub use storage::{HostStorage, Storage, StoredFile};
pub use write::{Base, SnapshotWriter};

use std::path::{Path, PathBuf};

/// What the name of a snapshot ends with until it is whole.
pub const INCOMPLETE: &str = ".incomplete";
/// The most snapshots that a restore goes through, from the last to the full one.
pub const MAX_CHAIN: usize = 64;
/// The longest configuration, in bytes.
pub const MAX_CONFIG: u64 = 16 << 20;
/// The longest state, in bytes.
pub const MAX_STATE: u64 = 1 << 30;
/// The longest manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 30;
/// The most pages of an extent with data, which is read and checked as one.
const EXTENT_PAGES: u64 = 256;

const CONFIG: &str = "config.json";
const STATE: &str = "state";
const MEMORY: &str = "memory";
const MANIFEST: &str = "manifest";

/// The name that a snapshot has until it is whole.
fn incomplete(target: &Path) -> Result<PathBuf, SnapshotError> {
    let name = target.file_name().ok_or_else(|| SnapshotError::Name { path: target.to_owned() })?;
    if is_incomplete(target) {
        return Err(SnapshotError::Name { path: target.to_owned() });
    }
    let mut name = name.to_owned();
    name.push(INCOMPLETE);
    Ok(target.with_file_name(name))
}

/// Whether a directory says of itself that it is not whole.
fn is_incomplete(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INCOMPLETE))
}

/// The directory that a path lies in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
