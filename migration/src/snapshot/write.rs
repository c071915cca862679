//! Writing a snapshot.

use std::path::{Path, PathBuf};

use super::manifest::{BaseName, Checked, Manifest, SnapshotId};
use super::pipeline::{Piece, read_pieces};
use super::table::PageTable;
use super::{
    CONFIG, EXTENT_PAGES, MANIFEST, MAX_CHAIN, MAX_CONFIG, MAX_STATE, MEMORY, STATE, Snapshot,
    SnapshotError, Storage, StoredFile, incomplete, parent,
};
use crate::memory::{Layout, PAGE_SIZE, PageSet, Run, SourceMemory};

/// So many bytes are worth telling the disk to begin.
const BEGUN_AT_ONCE: u64 = 4 << 20;

/// What a differential snapshot is made against.
#[derive(Debug)]
pub struct Base<'b, 's, S: Storage> {
    /// The snapshot.
    pub snapshot: &'b Snapshot<'s, S>,
    /// How a restore finds it: absolute, or from the directory that the new snapshot lies in.
    pub path: String,
}

/// A snapshot that is not whole yet. Dropping it removes what was written.
#[derive(Debug)]
pub struct SnapshotWriter<'s, S: Storage> {
    storage: &'s S,
    id: SnapshotId,
    base: Option<BaseName>,
    target: PathBuf,
    work: PathBuf,
    memory: S::File,
    layout: Layout,
    config: Checked,
    table: PageTable,
    /// From where to where in the memory file the disk has not been told to begin.
    not_begun: Option<(u64, u64)>,
    is_finished: bool,
}

impl<'s, S: Storage> SnapshotWriter<'s, S> {
    /// Begins the snapshot that will be at `target`.
    ///
    /// # Errors
    /// Something is there, or the storage refuses; a base has another layout, or builds on too many.
    pub fn create(
        storage: &'s S,
        target: &Path,
        id: SnapshotId,
        layout: &Layout,
        config: &[u8],
        base: Option<Base<'_, '_, S>>,
    ) -> Result<Self, SnapshotError> {
        let base = base.map(|base| base_name(base, layout)).transpose()?;
        limited(target, CONFIG, config, MAX_CONFIG)?;
        let work = incomplete(target)?;
        if storage.exists(target).map_err(SnapshotError::io("look for", target))? {
            return Err(SnapshotError::Exists { path: target.to_owned() });
        }
        storage.create_dir(&work).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => SnapshotError::LeftBehind { path: work.clone() },
            _ => SnapshotError::io("make", &work)(source),
        })?;
        let files = || {
            write_whole(storage, &work.join(CONFIG), config)?;
            let path = work.join(MEMORY);
            let memory = storage.create(&path).map_err(SnapshotError::io("make", &path))?;
            let sized = memory.set_len(layout.bytes());
            sized.map_err(SnapshotError::io("size", &path))?;
            Ok(memory)
        };
        // Nobody else removes it if this fails; and if that fails, its name says what it is.
        let memory = files().inspect_err(|_| drop(storage.remove_dir(&work)))?;
        Ok(Self {
            storage,
            id,
            base,
            target: target.to_owned(),
            work,
            memory,
            layout: layout.clone(),
            config: Checked::of(config),
            table: PageTable::new(layout),
            not_begun: None,
            is_finished: false,
        })
    }

    /// Copies pages as they are now. May be called again for pages that have changed since.
    ///
    /// # Errors
    /// The memory cannot be read, or the storage refuses; the snapshot can only be dropped then.
    pub fn copy(
        &mut self,
        memory: &impl SourceMemory,
        pages: &PageSet,
    ) -> Result<(), SnapshotError> {
        if memory.layout() != &self.layout {
            return Err(SnapshotError::OtherLayout { path: self.target.clone() });
        }
        let mut pieces = Vec::new();
        for run in pages.runs() {
            let mut rest = Some(run);
            while let Some(left) = rest {
                let data = memory.next_data(left).map_err(failed("look into", left))?;
                let first = data.map_or(left.end(), Run::first);
                if let Some(zeros) = left.until(first) {
                    self.zeros(zeros)?;
                }
                let Some(data) = data else { break };
                pieces.extend(data.pieces(EXTENT_PAGES));
                rest = left.from(data.end());
            }
        }
        read_pieces(memory, &pieces, |piece| self.put(piece))
    }

    fn put(&mut self, piece: &Piece) -> Result<(), SnapshotError> {
        let mut at = 0;
        for crcs in piece.crcs.chunk_by(|one, other| one.is_some() == other.is_some()) {
            let bytes = &piece.bytes[at * PAGE_SIZE..][..crcs.len() * PAGE_SIZE];
            let run = self.layout.run(piece.first + at as u64, crcs.len() as u64);
            at += crcs.len();
            // Cannot be outside: it was read from this layout's memory.
            let Some(run) = run else { continue };
            if crcs.first().is_some_and(Option::is_none) {
                self.zeros(run)?;
                continue;
            }
            self.memory
                .write_at(bytes, run.offset())
                .map_err(|source| SnapshotError::io("write", &self.work.join(MEMORY))(source))?;
            self.table.data(run, crcs.iter().copied().flatten());
            self.written(run);
        }
        Ok(())
    }

    /// Has the disk at work while the rest is copied, so that little is left to be waited for in the end.
    fn written(&mut self, run: Run) {
        let (start, end) = self.not_begun.unwrap_or((run.offset(), run.offset()));
        let (start, end) = (start.min(run.offset()), end.max(run.offset() + run.bytes()));
        let is_worth_it = end - start >= BEGUN_AT_ONCE;
        if is_worth_it {
            self.memory.begin_sync(start, end - start);
        }
        self.not_begun = (!is_worth_it).then_some((start, end));
    }

    fn zeros(&mut self, run: Run) -> Result<(), SnapshotError> {
        for stale in self.table.zeros(run) {
            let zeroed = self.memory.zero_at(stale.offset(), stale.bytes());
            zeroed.map_err(SnapshotError::io("write", &self.work.join(MEMORY)))?;
        }
        Ok(())
    }

    /// Ends the snapshot: it is whole, on the disk, and at its place when this returns.
    ///
    /// # Errors
    /// A full snapshot misses pages, or the storage refuses; nothing is left then, or what is left is marked incomplete.
    pub fn finish(mut self, state: &[u8]) -> Result<SnapshotId, SnapshotError> {
        if let Some(page) = self.table.first_not_copied().filter(|_| self.base.is_none()) {
            return Err(SnapshotError::NotCopied { page });
        }
        limited(&self.target, STATE, state, MAX_STATE)?;
        write_whole(self.storage, &self.work.join(STATE), state)?;
        self.memory.sync().map_err(SnapshotError::io("sync", &self.work.join(MEMORY)))?;
        let extents = self.table.extents(self.base.is_some());
        let files = (self.config, Checked::of(state));
        let manifest = Manifest::new(self.id, self.base.clone(), &self.layout, extents, files);
        // Last of all, so that what has a manifest has everything else.
        let path = self.work.join(MANIFEST);
        write_whole(self.storage, &path, &manifest.encode(&path)?)?;
        let synced = self.storage.sync_dir(&self.work);
        synced.map_err(SnapshotError::io("sync", &self.work))?;
        let renamed = self.storage.rename(&self.work, &self.target);
        renamed.map_err(SnapshotError::io("rename", &self.work))?;
        // From here on it is whole under its name, whether or not that is on the disk yet.
        self.is_finished = true;
        let parent = parent(&self.target);
        self.storage.sync_dir(parent).map_err(|error| {
            // Who is told that there is none shall find none.
            drop(self.storage.remove_dir(&self.target));
            SnapshotError::io("sync", parent)(error)
        })?;
        Ok(self.id)
    }
}

impl<S: Storage> Drop for SnapshotWriter<'_, S> {
    fn drop(&mut self) {
        if !self.is_finished {
            // If it cannot be removed its name says what it is.
            drop(self.storage.remove_dir(&self.work));
        }
    }
}

fn base_name<S: Storage>(
    base: Base<'_, '_, S>,
    layout: &Layout,
) -> Result<BaseName, SnapshotError> {
    if base.snapshot.layout() != layout {
        return Err(SnapshotError::OtherLayout { path: base.snapshot.path().to_owned() });
    }
    if base.snapshot.links().count() >= MAX_CHAIN {
        return Err(SnapshotError::Chain { path: base.snapshot.path().to_owned() });
    }
    let (id, manifest_crc) = (base.snapshot.id(), base.snapshot.manifest_crc());
    Ok(BaseName { path: base.path, id, manifest_crc })
}

fn write_whole<S: Storage>(storage: &S, path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let file = storage.create(path).map_err(SnapshotError::io("make", path))?;
    file.write_at(bytes, 0).map_err(SnapshotError::io("write", path))?;
    file.sync().map_err(SnapshotError::io("sync", path))
}

fn limited(target: &Path, name: &str, bytes: &[u8], limit: u64) -> Result<(), SnapshotError> {
    let bytes = bytes.len() as u64;
    if bytes > limit {
        return Err(SnapshotError::TooLong { path: target.join(name), bytes, limit });
    }
    Ok(())
}

/// For `map_err`.
fn failed(action: &'static str, run: Run) -> impl FnOnce(std::io::Error) -> SnapshotError {
    move |source| SnapshotError::Memory { action, page: run.first(), source }
}
