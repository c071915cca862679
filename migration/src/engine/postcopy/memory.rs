//! What post-copy needs of the memory of a VM.

use std::io;
use std::time::Duration;

use super::super::error::VmError;
use crate::memory::{Layout, Run, SourceMemory};

/// What a look for waiters comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Somebody waits for this page.
    Page(u64),
    /// Nobody does at the moment.
    Nobody,
    /// Nobody will any more: the VM has ended.
    Over,
}

/// Memory of a VM that runs while pages are missing: who touches one waits until it is placed.
pub trait LazyMemory: Send + Sync {
    /// Returns when somebody waits for a page, the VM has ended, somebody has rung, or the time is over.
    ///
    /// # Errors
    /// The host does not tell.
    fn next_fault(&self, patience: Duration) -> Result<Fault, VmError>;

    /// Has [`next_fault`](Self::next_fault) return, the one that is under way or the next one.
    fn ring(&self);

    /// Puts whole pages into their places, from `first` on, and lets those go on who wait for them. None is there twice.
    ///
    /// # Errors
    /// The host cannot.
    fn place(&self, first: u64, pages: &[u8]) -> io::Result<()>;

    /// The same with zeros.
    ///
    /// # Errors
    /// As for [`place`](Self::place).
    fn place_zeros(&self, run: Run) -> io::Result<()>;

    /// A page that was not missing is waited for: it has been placed meanwhile, or holds nothing.
    ///
    /// # Errors
    /// As for [`place`](Self::place).
    fn settle(&self, page: u64) -> io::Result<()>;

    /// All pages are there.
    ///
    /// # Errors
    /// The host cannot.
    fn complete(&self) -> Result<(), VmError>;

    /// Missing pages cannot be had. A VM that was not let go never will be, and nobody of it waits any more. One that was let go
    /// ends, and this returns when it has.
    fn fail(&self, why: &str);
}

/// A handle on a source's memory.
pub(super) struct Lent(pub(super) Box<dyn SourceMemory + Send>);

impl SourceMemory for Lent {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(first, into)
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        self.0.next_data(run)
    }
}
