//! A thread that brings the pages of a snapshot: first those that somebody waits for, in between all others.
//!
//! It takes no lock and waits for nothing but the storage: whoever waits for a page waits for at most one piece (1 MiB) that is being read for nobody in
//! particular, and its own.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use migration::memory::{PageSet, SourceMemory};
use migration::snapshot::{SnapshotError, SnapshotPages, StoredFile};
use vcpu_state::sync::Arc;

use super::super::uffd::UffdError;
use super::super::{GuestRam, MigrationMemory};
use super::ram::Counted;
use super::{Failure, LazyRam};

/// Brings pages until all are there, or nobody wants them any more. Dropping it says so, and waits for the thread.
#[derive(Debug)]
pub(crate) struct PageServer {
    ram: Arc<LazyRam>,
    thread: Option<JoinHandle<()>>,
}

/// Hears once that a page cannot be had although the VM may run.
type Lost = Box<dyn FnOnce(String) + Send>;

impl PageServer {
    /// Begins to fill RAM that is empty with the pages of a snapshot. `lost` is told, once, when a page cannot be had although the VM may run.
    ///
    /// # Errors
    /// The host cannot, or the RAM is not empty.
    pub(crate) fn start<F: StoredFile + Send + 'static>(
        ram: &GuestRam,
        pages: SnapshotPages<F>,
        lost: Lost,
    ) -> Result<Self, UffdError> {
        let left = pages.data();
        let lazy = LazyRam::watch(ram, left.len())?;
        // From here on who touches a page waits for it.
        if !is_empty(ram).map_err(UffdError::Register)? {
            return Err(UffdError::NotEmpty);
        }
        let work = Work { ram: Arc::clone(&lazy), pages, left };
        let thread = std::thread::Builder::new().name("page-server".to_owned());
        let thread = thread.spawn(move || work.run(lost)).map_err(UffdError::Register)?;
        Ok(Self { ram: lazy, thread: Some(thread) })
    }

    /// The same for RAM whose pages others bring: dropping it says that nobody touches it any more.
    pub(crate) fn of_others(ram: &Arc<LazyRam>) -> Self {
        Self { ram: Arc::clone(ram), thread: None }
    }

    /// The VM ends: what has not come is given up ([`LazyRam::give_up`]).
    pub(crate) fn give_up(&self) {
        if let Err(error) = self.ram.give_up() {
            tracing::error!("guest memory that has not come cannot be given up: {error}");
        }
    }

    /// The RAM.
    pub(crate) fn ram(&self) -> &Arc<LazyRam> {
        &self.ram
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.ram.stop();
        if let Some(thread) = self.thread.take()
            // One that brings what nobody needs any more may wait for its storage: it ends when that answers, and has a handle on the RAM until then.
            && !self.ram.ram().is_given_up()
        {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn is_empty(ram: &GuestRam) -> io::Result<bool> {
    let memory = MigrationMemory::new(ram)?;
    memory.is_hole(SourceMemory::layout(&memory).all())
}

struct Work<F> {
    ram: Arc<LazyRam>,
    pages: SnapshotPages<F>,
    /// What is still to come.
    left: PageSet,
}

/// Why a page cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoPage {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the host: {0}")]
    Host(#[from] io::Error),
}

impl<F: StoredFile> Work<F> {
    fn run(mut self, lost: Lost) {
        let Err(error) = self.serve() else { return };
        let why = format!("guest memory cannot be had: {error}");
        let failure = self.ram.fail(&why);
        if failure == Failure::Live {
            lost(why);
        }
        if let Err(error) = self.ram.refuse(failure) {
            tracing::error!(
                "who waits for guest memory that cannot be had waits for ever: {error}"
            );
        }
    }

    fn serve(&mut self) -> Result<(), NoPage> {
        let mut next = self.left.first_at(0);
        while let Some(page) = next {
            self.ram.poll(Some(Duration::ZERO))?;
            while let Some(page) = self.ram.next_fault()? {
                self.bring(page)?;
            }
            if self.ram.is_stopped() {
                return Ok(());
            }
            self.bring(page)?;
            next = self.left.first_at(page);
        }
        Ok(self.ram.end()?)
    }

    /// Brings a page, and what comes with it.
    fn bring(&mut self, page: u64) -> Result<(), NoPage> {
        let Self { ram, pages, left } = self;
        if left.contains(page) {
            pages.read(page, |run, bytes| {
                left.remove(run);
                ram.place(run.first(), bytes)
            })?;
        } else {
            // It holds nothing, or has been brought since it was asked for.
            ram.place_zeros(page, 1, Counted::No)?;
        }
        Ok(())
    }
}
