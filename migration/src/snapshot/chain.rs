//! A snapshot and its bases.

use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::{MANIFEST, MAX_CHAIN, MAX_MANIFEST, SnapshotError, Storage, StoredFile, is_incomplete};

/// One directory of a chain.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    /// The checksum of the manifest's file.
    pub(super) crc: u32,
}

/// Opens a snapshot and what it builds on: from the full one to itself.
pub(super) fn open<S: Storage>(storage: &S, path: &Path) -> Result<Vec<Link>, SnapshotError> {
    let mut links = vec![open_one(storage, path)?];
    while let Some(link) = links.last()
        && let Some(name) = &link.manifest.head.base
    {
        if links.len() >= MAX_CHAIN {
            return Err(SnapshotError::Chain { path: path.to_owned() });
        }
        let base = open_one(storage, &beside(&link.path).join(&name.path))?;
        let what = if base.manifest.head.id != name.id {
            "it is another snapshot"
        } else if base.crc != name.manifest_crc {
            "its manifest was changed"
        } else if base.manifest.layout != link.manifest.layout {
            "its memory has another layout"
        } else {
            links.push(base);
            continue;
        };
        return Err(SnapshotError::Base { path: link.path.clone(), base: base.path, what });
    }
    links.reverse();
    Ok(links)
}

/// The directory that the base of a snapshot is named from.
fn beside(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn open_one<S: Storage>(storage: &S, path: &Path) -> Result<Link, SnapshotError> {
    if is_incomplete(path) {
        return Err(SnapshotError::Incomplete { path: path.to_owned() });
    }
    let file = path.join(MANIFEST);
    let open = storage.open(&file).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => SnapshotError::NoManifest { path: path.to_owned() },
        _ => SnapshotError::io("open", &file)(source),
    })?;
    let bytes = open.len().map_err(SnapshotError::io("measure", &file))?;
    if bytes > MAX_MANIFEST {
        return Err(SnapshotError::TooLong { path: file, bytes, limit: MAX_MANIFEST });
    }
    let bytes = read_whole(&open, bytes, &file)?;
    let manifest = Manifest::decode(&bytes, &file)?;
    Ok(Link { path: path.to_owned(), manifest, crc: crc32c::crc32c(&bytes) })
}

/// Reads a file that is known to be that long.
pub(super) fn read_whole<F: StoredFile>(
    file: &F,
    bytes: u64,
    path: &Path,
) -> Result<Vec<u8>, SnapshotError> {
    let mut all = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_at(&mut all, 0).map_err(SnapshotError::io("read", path))?;
    Ok(all)
}
