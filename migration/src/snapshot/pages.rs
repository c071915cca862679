//! The pages of a snapshot in any order, for a VM that runs before it has all of them.
//!
//! ```text
//!   full        ████████████████░░░░░░░░    extents, each with a checksum
//!   later       ░░░░░░███░░░0░░░░░░█████    data and zeros that take the place of what is below
//!   pieces      └────┘└─┘└─┘ └─┘    └──┘    what of each extent counts: disjoint, in the order of pages
//! ```
//!
//! An extent is read, and checked, as a whole; what of it counts is handed out then, so that each is read once by who takes what it gets.
//!
//! Invariant: a page is in one piece, that of the last snapshot of the chain that lists it as data; what is in none is zeros.

use std::io;
use std::path::{Path, PathBuf};

use super::chain::Link;
use super::manifest::{Extent, Stored};
use super::read::Snapshot;
use super::table::crc_of_pages;
use super::{MEMORY, SnapshotError, Storage, StoredFile};
use crate::memory::{Layout, PAGE_SIZE, PageSet, Run};

/// The pages of a snapshot and what it builds on. The directories may be removed meanwhile, not the files' contents changed, which is noticed.
#[derive(Debug)]
pub struct SnapshotPages<F> {
    layout: Layout,
    files: Vec<(F, PathBuf)>,
    pieces: Vec<Piece>,
    buffer: Vec<u8>,
}

/// What of an extent counts.
#[derive(Debug, Clone, Copy)]
struct Piece {
    run: Run,
    file: usize,
    extent: Extent,
}

impl<S: Storage> Snapshot<'_, S> {
    /// Its pages, to be read in any order.
    ///
    /// # Errors
    /// A file of memory is not there, or not as long as it was.
    pub fn pages(&self) -> Result<SnapshotPages<S::File>, SnapshotError> {
        let layout = self.layout().clone();
        let mut files = Vec::new();
        for link in self.links() {
            let path = link.path.join(MEMORY);
            files.push((self.open_file(&path, layout.bytes())?, path));
        }
        let mut pieces = Vec::new();
        let mut covered = PageSet::empty(&layout);
        for (file, link) in self.links().enumerate().collect::<Vec<_>>().into_iter().rev() {
            add_pieces(&mut pieces, &mut covered, (&layout, link, file));
        }
        pieces.sort_unstable_by_key(|piece| piece.run.first());
        Ok(SnapshotPages { layout, files, pieces, buffer: Vec::new() })
    }
}

/// The pieces of a snapshot's extents that no later one covers, which then are covered, too.
fn add_pieces(
    pieces: &mut Vec<Piece>,
    covered: &mut PageSet,
    (layout, link, file): (&Layout, &Link, usize),
) {
    let is_last = covered.is_empty();
    for extent in &link.manifest.extents {
        // Cannot be outside: the manifest was checked.
        let Some(run) = layout.run(extent.first, extent.count) else { continue };
        if matches!(extent.contents, Stored::Data { .. }) {
            let mut rest = Some(run);
            while let Some(left) = rest {
                let same = |page: &u64| is_last || !covered.contains(*page);
                let first = (left.first()..left.end()).find(same);
                let Some(open) = first.and_then(|first| left.from(first)) else { break };
                let end = (open.first()..open.end()).find(|page| !same(page));
                let end = end.unwrap_or(open.end());
                pieces.extend(open.until(end).map(|run| Piece { run, file, extent: *extent }));
                rest = open.from(end);
            }
        }
        if !is_last {
            covered.insert(run);
        }
    }
    if is_last {
        let runs = link.manifest.extents.iter();
        let runs = runs.filter_map(|extent| layout.run(extent.first, extent.count));
        runs.for_each(|run| covered.insert(run));
    }
}

impl<F: StoredFile> SnapshotPages<F> {
    /// Where the memory lies.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The pages that hold data; all others are zeros.
    #[must_use]
    pub fn data(&self) -> PageSet {
        let mut data = PageSet::empty(&self.layout);
        self.pieces.iter().for_each(|piece| data.insert(piece.run));
        data
    }

    /// Reads a page that holds data, and what is read and checked together with it: `place` gets all of that. Whether it holds data.
    ///
    /// # Errors
    /// It cannot be read, is not what was written, or `place` fails.
    pub fn read(
        &mut self,
        page: u64,
        mut place: impl FnMut(Run, &[u8]) -> io::Result<()>,
    ) -> Result<bool, SnapshotError> {
        let Some(Piece { file: number, extent, .. }) = self.piece_of(page).copied() else {
            return Ok(false);
        };
        let Some(whole) = self.layout.run(extent.first, extent.count) else { return Ok(false) };
        let Some((file, path)) = self.files.get(number) else { return Ok(false) };
        checked_extent((file, path), (&extent, whole), &mut self.buffer)?;
        let from = self.pieces.partition_point(|piece| piece.run.end() <= whole.first());
        let pieces = self.pieces.iter().skip(from);
        let pieces = pieces.take_while(|piece| piece.run.first() < whole.end());
        for Piece { run, .. } in pieces.filter(|piece| piece.file == number) {
            let bytes = |pages: u64| usize::try_from(pages).unwrap_or(usize::MAX) * PAGE_SIZE;
            let start = bytes(run.first() - whole.first());
            let Some(bytes) = self.buffer.get(start..start + bytes(run.count())) else { continue };
            place(*run, bytes).map_err(|source| SnapshotError::Memory {
                action: "fill",
                page: run.first(),
                source,
            })?;
        }
        Ok(true)
    }

    fn piece_of(&self, page: u64) -> Option<&Piece> {
        let at = self.pieces.partition_point(|piece| piece.run.end() <= page);
        self.pieces.get(at).filter(|piece| piece.run.first() <= page)
    }
}

/// Reads an extent of data, whose pages are `run`, and checks it.
fn checked_extent<F: StoredFile>(
    (file, path): (&F, &Path),
    (extent, run): (&Extent, Run),
    buffer: &mut Vec<u8>,
) -> Result<(), SnapshotError> {
    // At most EXTENT_PAGES: the manifest was checked.
    buffer.resize(usize::try_from(run.bytes()).unwrap_or(PAGE_SIZE), 0);
    file.read_at(buffer, run.offset()).map_err(SnapshotError::io("read", path))?;
    let crc = crc_of_pages(buffer.chunks(PAGE_SIZE).map(crc32c::crc32c));
    if extent.contents != (Stored::Data { crc }) {
        let (first, last) = (run.first(), run.end() - 1);
        return Err(SnapshotError::MemoryChecksum { path: path.to_owned(), first, last });
    }
    Ok(())
}
