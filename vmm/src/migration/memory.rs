//! Guest memory as the engine and snapshots see it, watched by its transfer.

use std::io;

use migration::memory::{DestinationMemory, Layout, PAGE_SIZE, Run, SourceMemory};
use vcpu_state::sync::Arc;

use super::Transfer;

/// Memory of which a transfer counts what is done; copying it fails when the transfer was ended.
pub(super) struct Watched<M> {
    pub(super) memory: M,
    pub(super) transfer: Arc<Transfer>,
}

impl<M> Watched<M> {
    /// So much was done; an error if that is enough.
    pub(super) fn done(&self, bytes: u64) -> io::Result<()> {
        self.transfer.add_done(bytes);
        match self.transfer.why_ended() {
            Some(why) => Err(io::Error::other(why.to_owned())),
            None => Ok(()),
        }
    }
}

impl<M: SourceMemory> SourceMemory for Watched<M> {
    fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read(first, into)?;
        self.done(into.len() as u64)
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        let data = self.memory.next_data(run)?;
        let skipped = data.map_or(run.end(), Run::first).saturating_sub(run.first());
        self.done(skipped * PAGE_SIZE as u64)?;
        Ok(data)
    }
}

impl<M: DestinationMemory> DestinationMemory for Watched<M> {
    fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        self.memory.write(first, pages)?;
        self.done(pages.len() as u64)
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        self.memory.zero(run)?;
        self.done(run.bytes())
    }
}
