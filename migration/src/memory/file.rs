//! Guest memory as the file that is mapped for it: a memfd, or the memory of a snapshot.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::{DestinationMemory, Layout, PAGE_SIZE, Run, SourceMemory};

/// The pages of a layout, in their order, in a file that is mapped shared. Nothing else may use the file's cursor.
///
/// Holes of the file are zeros that nobody has to read: pages that the guest never touched are not touched here either.
#[derive(Debug)]
pub struct FileMemory {
    file: File,
    layout: Layout,
}

impl FileMemory {
    /// The memory in `file`.
    ///
    /// # Errors
    /// The file is not as long as the layout, or its length cannot be told.
    pub fn new(file: File, layout: Layout) -> io::Result<Self> {
        let len = file.metadata()?.len();
        if len != layout.bytes() {
            let what = format!("a file of {len} bytes for {} bytes of memory", layout.bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Self { file, layout })
    }

    /// The pages of a buffer, if there are such.
    fn run(&self, first: u64, bytes: &[u8]) -> io::Result<Run> {
        let count = (bytes.len() / PAGE_SIZE) as u64;
        let run = self.layout.run(first, count).filter(|run| run.bytes() == bytes.len() as u64);
        run.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such pages"))
    }
}

impl SourceMemory for FileMemory {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        let run = self.run(first, into)?;
        self.file.read_exact_at(into, run.offset())
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        let page = |offset: u64| offset / PAGE_SIZE as u64;
        let data = match seek(&self.file, SeekFrom::Data(run.offset())) {
            Ok(offset) => page(offset),
            // There is no data behind the offset.
            Err(Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(found) = run.from(data) else { return Ok(None) };
        let hole = seek(&self.file, SeekFrom::Hole(found.offset()))?;
        // A page of which a part is data is data; a hole that was filled or made since is of no harm: what the guest
        // writes meanwhile is in the dirty log.
        Ok(Some(found.until(page(hole + PAGE_SIZE as u64 - 1)).unwrap_or(found)))
    }
}

impl DestinationMemory for FileMemory {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let run = self.run(first, pages)?;
        self.file.write_all_at(pages, run.offset())
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, run.offset(), run.bytes())?)
    }
}
