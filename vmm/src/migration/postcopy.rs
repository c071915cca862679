//! Memory that comes after a VM, as the engine sees it: at the destination, watched RAM.

use std::io;
use std::time::Duration;

use migration::engine::VmError;
use migration::engine::postcopy::{Fault, LazyMemory};
use migration::memory::{PAGE_SIZE, Run};
use vcpu_state::sync::Arc;

use super::Transfer;
use crate::control::Line;
use crate::memory::{Counted, Failure, LazyRam};

/// The RAM of a VM that is received, and whom to tell when its pages cannot be had.
pub(super) struct IncomingRam {
    pub(super) ram: Arc<LazyRam>,
    pub(super) line: Line,
    /// The VM's serial number.
    pub(super) vm: u64,
    pub(super) transfer: Arc<Transfer>,
}

impl LazyMemory for IncomingRam {
    fn next_fault(&self, patience: Duration) -> Result<Fault, VmError> {
        for patience in [None, Some(patience)] {
            if let Some(patience) = patience {
                self.ram.poll(Some(patience))?;
            }
            if self.ram.is_stopped() {
                return Ok(Fault::Over);
            }
            if let Some(page) = self.ram.next_fault()? {
                return Ok(Fault::Page(page));
            }
        }
        Ok(Fault::Nobody)
    }

    fn ring(&self) {
        self.ram.ring();
    }

    fn place(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        self.transfer.add_done(pages.len() as u64);
        self.ram.place(first, pages)
    }

    fn place_zeros(&self, run: Run) -> io::Result<()> {
        self.transfer.add_done(run.count() * PAGE_SIZE as u64);
        self.ram.place_zeros(run.first(), run.count(), Counted::Yes)
    }

    fn settle(&self, page: u64) -> io::Result<()> {
        self.ram.place_zeros(page, 1, Counted::No)
    }

    fn complete(&self) -> Result<(), VmError> {
        Ok(self.ram.end()?)
    }

    fn fail(&self, why: &str) {
        let failure = self.ram.fail(why);
        if failure == Failure::Live {
            let report = format!(
                "post-copy was interrupted, and the VM cannot run without the memory that has not come: {why}. The VM at the source must \
                 not go on either: this one has gone on without it"
            );
            self.line.memory_lost(self.vm, report);
        }
        if let Err(error) = self.ram.refuse(failure) {
            tracing::error!(
                "who waits for guest memory that cannot be had waits for ever: {error}"
            );
        }
    }
}
