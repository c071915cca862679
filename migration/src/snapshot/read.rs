//! Reading a snapshot.

use std::path::{Path, PathBuf};

use super::chain::{self, Link, read_whole};
use super::manifest::{Checked, Stored};
use super::pipeline::write_pieces;
use super::table::crc_of_pages;
use super::{CONFIG, MEMORY, STATE, SnapshotError, SnapshotId, Storage, StoredFile};
use crate::memory::{DestinationMemory, Layout, PAGE_SIZE, Run};

/// A whole snapshot, with all that it builds on.
#[derive(Debug)]
pub struct Snapshot<'s, S: Storage> {
    storage: &'s S,
    /// The snapshot itself.
    last: Link,
    /// From the full one to the one below the last.
    bases: Vec<Link>,
}

impl<'s, S: Storage> Snapshot<'s, S> {
    /// Opens the snapshot at `path` and the bases that it names.
    ///
    /// # Errors
    /// It is incomplete, damaged or no snapshot, or a base is not there or another one.
    pub fn open(storage: &'s S, path: &Path) -> Result<Self, SnapshotError> {
        let mut bases = chain::open(storage, path)?;
        let last =
            bases.pop().ok_or_else(|| SnapshotError::NoManifest { path: path.to_owned() })?;
        Ok(Self { storage, last, bases })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.last.path
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.last.manifest.head.id
    }

    /// Where the memory of its VM lies.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.last.manifest.layout
    }

    /// The checksum by which a differential snapshot names its base.
    pub(super) fn manifest_crc(&self) -> u32 {
        self.last.crc
    }

    /// The snapshot and its bases, itself last.
    pub(super) fn links(&self) -> impl DoubleEndedIterator<Item = &Link> {
        self.bases.iter().chain(std::iter::once(&self.last))
    }

    /// The configuration of its VM.
    ///
    /// # Errors
    /// The file is not there, or not what was written.
    pub fn config(&self) -> Result<Vec<u8>, SnapshotError> {
        self.checked(CONFIG, self.last.manifest.head.config)
    }

    /// The state of its VM, to be parsed by [`StateReader`](crate::format::StateReader).
    ///
    /// # Errors
    /// As [`config`](Self::config).
    pub fn state(&self) -> Result<Vec<u8>, SnapshotError> {
        self.checked(STATE, self.last.manifest.head.state)
    }

    /// The file with all pages in their order, to be mapped as it is: only a snapshot without a base has all of them.
    #[must_use]
    pub fn memory_file(&self) -> Option<PathBuf> {
        self.bases.is_empty().then(|| self.last.path.join(MEMORY))
    }

    /// The file with all pages of the full snapshot that this one builds on, or is. Mapped privately, and with
    /// [`restore_changes`](Self::restore_changes) over it, it is the memory.
    #[must_use]
    pub fn full_memory_file(&self) -> PathBuf {
        self.bases.first().unwrap_or(&self.last).path.join(MEMORY)
    }

    fn checked(&self, name: &str, expected: Checked) -> Result<Vec<u8>, SnapshotError> {
        let path = self.last.path.join(name);
        let file = self.open_file(&path, expected.bytes)?;
        let bytes = read_whole(&file, expected.bytes, &path)?;
        if Checked::of(&bytes) != expected {
            return Err(SnapshotError::Checksum { path });
        }
        Ok(bytes)
    }

    fn open_file(&self, path: &Path, expected: u64) -> Result<S::File, SnapshotError> {
        let file = self.storage.open(path).map_err(SnapshotError::io("open", path))?;
        let found = file.len().map_err(SnapshotError::io("measure", path))?;
        if found != expected {
            return Err(SnapshotError::Length { path: path.to_owned(), found, expected });
        }
        Ok(file)
    }

    /// Fills the memory of a VM, which is all zeros yet.
    ///
    /// # Errors
    /// The memory has another layout, cannot be written, or the snapshot is damaged; the VM is half filled then, and
    /// can only be thrown away.
    pub fn restore_memory(&self, memory: &impl DestinationMemory) -> Result<(), SnapshotError> {
        self.restore_links(self.links(), memory)
    }

    /// Makes of the full snapshot's memory this one's: what changed since. Nothing, if it is full itself.
    ///
    /// # Errors
    /// As [`restore_memory`](Self::restore_memory).
    pub fn restore_changes(&self, memory: &impl DestinationMemory) -> Result<(), SnapshotError> {
        self.restore_links(self.links().skip(1), memory)
    }

    fn restore_links<'l>(
        &self,
        links: impl Iterator<Item = &'l Link>,
        memory: &impl DestinationMemory,
    ) -> Result<(), SnapshotError> {
        if memory.layout() != self.layout() {
            return Err(SnapshotError::OtherLayout { path: self.last.path.clone() });
        }
        for link in links {
            let path = link.path.join(MEMORY);
            let file = self.open_file(&path, self.layout().bytes())?;
            let mut data = Vec::new();
            for extent in &link.manifest.extents {
                // Cannot be outside: the manifest was checked.
                let Some(run) = self.layout().run(extent.first, extent.count) else { continue };
                match extent.contents {
                    Stored::Data { crc } => data.push((run, crc)),
                    // Not a page of it is in an extent of data as well.
                    Stored::Zeros => memory.zero(run).map_err(not_filled(run))?,
                }
            }
            let fill = |(run, _): (Run, u32), buffer: &mut Vec<u8>| {
                // At most EXTENT_PAGES: the manifest was checked.
                buffer.resize(usize::try_from(run.bytes()).unwrap_or(PAGE_SIZE), 0);
                file.read_at(buffer, run.offset()).map_err(SnapshotError::io("read", &path))
            };
            write_pieces(&data, fill, |(run, crc), bytes| {
                if crc_of_pages(bytes.chunks(PAGE_SIZE).map(crc32c::crc32c)) != crc {
                    let (first, last) = (run.first(), run.end() - 1);
                    return Err(SnapshotError::MemoryChecksum { path: path.clone(), first, last });
                }
                memory.write(run.first(), bytes).map_err(not_filled(run))
            })?;
        }
        Ok(())
    }
}

/// For `map_err`.
fn not_filled(run: Run) -> impl FnOnce(std::io::Error) -> SnapshotError {
    move |source| SnapshotError::Memory { action: "fill", page: run.first(), source }
}
