//! Which pages of a running VM were written: what its vCPUs wrote, from KVM, and what this process wrote on its behalf.
//!
//! ```text
//!   start ──▶ collect ──▶ copy ──▶ collect ──▶ copy … ──▶ (VM stands still) ──▶ last ──▶ copy ──▶ drop
//! ```
//!
//! A page that is written while it is copied, or after, is in a later set; so the set is always collected before its pages are
//! read. What is written after the last set nobody copies any more, so that one takes the proof that nobody writes: [`Still`],
//! for which every vCPU and every worker has stopped.
//!
//! Invariants: every page that differs between two copies is in a set collected between them, whoever wrote it; a VM without a log
//! pays a load for each write of its workers, and nothing in the guest; at most one log of a VM runs.

mod clear;
mod kvm_log;

use std::io;
use std::os::fd::BorrowedFd;

use devices::memory::WriteLog;
use kvm_ioctls::VmFd;
use migration::memory::{Layout, PageSet, SourceMemory as _};
use vcpu_state::sync::Arc;

use super::{KvmError, Still};
use crate::memory::{Claimed, GuestRam, MigrationMemory};
use kvm_log::{KvmLog, Then};

/// There is no log, or it cannot be read. The VM goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum DirtyLogError {
    /// KVM's.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// That of this process's own writes.
    #[error("guest memory that devices write cannot be logged: {0}")]
    Own(io::Error),
    /// The memory.
    #[error("guest memory cannot be copied: {0}")]
    Memory(io::Error),
}

/// The memory of a VM for those who do not have the VM. It keeps the memory, and KVM's side of the VM, alive.
#[derive(Clone, Debug)]
pub struct LiveMemory {
    ram: GuestRam,
    vm: Arc<VmFd>,
}

impl LiveMemory {
    pub(super) fn new(ram: &GuestRam, vm: &Arc<VmFd>) -> Self {
        Self { ram: ram.clone(), vm: Arc::clone(vm) }
    }

    /// Its pages, to be read while the VM runs.
    ///
    /// # Errors
    /// The host gives no handle on them.
    pub fn pages(&self) -> Result<MigrationMemory, DirtyLogError> {
        MigrationMemory::new(&self.ram).map_err(DirtyLogError::Memory)
    }

    /// The memfd behind it, if it is made of one: for another VMM on this host, to which the VM goes.
    #[must_use]
    pub fn memfd(&self) -> Option<BorrowedFd<'_>> {
        self.ram.memfd()
    }

    /// Whether part of it is still to come, so that what is behind it is not all.
    #[must_use]
    pub fn is_to_come(&self) -> bool {
        self.ram.missing_bytes() > 0
    }

    /// Has no other VMM take it over.
    ///
    /// # Errors
    /// One has.
    pub fn claim(&self) -> Result<(), Claimed> {
        self.ram.claim()
    }

    /// Another VMM may take it over.
    pub fn release(&self) {
        self.ram.release();
    }

    /// Notes from now on which pages are written. What was written before is in what is read from now on.
    ///
    /// # Errors
    /// Another log runs, or KVM or the kernel has none.
    pub fn start_log(&self) -> Result<DirtyLog, DirtyLogError> {
        let layout = self.pages()?.layout().clone();
        let own = WriteLog::start(self.ram.memory()).map_err(DirtyLogError::Own)?;
        let kvm = KvmLog::start(&self.vm, &self.ram)?;
        Ok(DirtyLog { layout, kvm, own })
    }
}

/// A log that runs. Dropping it ends it.
#[derive(Debug)]
pub struct DirtyLog {
    layout: Layout,
    /// Off before the other: who has that one may start a log, which KVM's must not be switched off under.
    kvm: KvmLog,
    own: WriteLog,
}

impl DirtyLog {
    /// The pages that were written since the start, or since this was asked last. To be asked before they are read.
    ///
    /// # Errors
    /// KVM does not tell. What it has told of other regions is lost with that: the log is of no use any more.
    pub fn collect(&mut self) -> Result<PageSet, DirtyLogError> {
        self.read(Then::GoOn)
    }

    /// The same when nobody writes any more: nothing is written between this and the end of the still point. If the VM goes on after all,
    /// the next set has these pages again.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn last(&mut self, _still: &Still) -> Result<PageSet, DirtyLogError> {
        self.read(Then::Nothing)
    }

    fn read(&mut self, then: Then) -> Result<PageSet, DirtyLogError> {
        let mut pages = PageSet::empty(&self.layout);
        self.kvm.read(&self.layout, &mut pages, then)?;
        let mut runs = runs(&self.layout);
        self.own.take(|_, words| {
            if let Some(run) = runs.next() {
                pages.insert_bits(run, words);
            }
        });
        Ok(pages)
    }
}

/// The pages of each region.
fn runs(layout: &Layout) -> impl Iterator<Item = migration::memory::Run> {
    let mut first = 0;
    layout.regions().iter().filter_map(move |region| {
        let run = layout.run(first, region.pages);
        first += region.pages;
        run
    })
}
