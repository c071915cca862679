//! What the engine needs of a VM.

use std::time::Duration;

use vcpu_state::sync::Arc;

use super::adoption::{Adoption, Extent};
use super::error::VmError;
use super::postcopy::LazyMemory;
use crate::memory::{DestinationMemory, PageSet, SourceMemory};
use crate::wire::{Passed, Phase, Rehearsal};

/// The VM that is to go.
pub trait SourceVm {
    /// Its memory.
    type Memory: SourceMemory;
    /// The proof that nothing of the VM writes memory any more: one more holder of its pause. Dropping it lets go, and
    /// the VM is as it was: running, or paused by whoever else holds it.
    type Still;

    /// Its memory.
    fn memory(&self) -> &Self::Memory;

    /// What it consists of, for another VMM on this host to take over: its memory and, if that is asked for, all files of all of its disks. It stays this VM's until
    /// that is told to, and so do the locks of the disks: those files have to be open through descriptions that nobody else locks.
    ///
    /// # Errors
    /// It cannot be passed.
    fn parts(&mut self, _: Extent) -> Result<Vec<Passed>, VmError> {
        Err("it cannot be passed".into())
    }

    /// Its configuration, as the destination's VM is built from it.
    fn config(&self) -> Vec<u8>;

    /// Notes from now on which pages are written.
    ///
    /// # Errors
    /// There is no such log.
    fn start_dirty_log(&mut self) -> Result<(), VmError>;

    /// The pages that were written since it was started or last asked.
    ///
    /// # Errors
    /// The log cannot be read.
    fn dirty(&mut self) -> Result<PageSet, VmError>;

    /// Ends the log.
    fn stop_dirty_log(&mut self);

    /// Holds its vCPUs for so many per cent of the time, 0 to 99. Never in the way of a pause.
    fn throttle(&mut self, percent: u8);

    /// How long a pause may take, before there has been one.
    fn expected_pause(&self) -> Duration {
        Duration::from_micros(100)
    }

    /// Makes everything that writes its memory stand still.
    ///
    /// # Errors
    /// It does not, and goes on as before.
    fn pause(&mut self) -> Result<Self::Still, VmError>;

    /// Whether somebody else holds the pause, too.
    fn phase(&self, still: &Self::Still) -> Phase;

    /// The last pages that were written: what [`dirty`](Self::dirty) says when nobody can write any more.
    ///
    /// # Errors
    /// The log cannot be read.
    fn last_dirty(&mut self, still: &Self::Still) -> Result<PageSet, VmError>;

    /// Its state, as units of [`format`](crate::format).
    ///
    /// # Errors
    /// A part cannot be saved.
    fn save(&mut self, still: &Self::Still) -> Result<Vec<u8>, VmError>;

    /// Gives up the locks of its disks, so that the destination can take them.
    ///
    /// # Errors
    /// They cannot be given up; those that were are not taken back yet.
    fn release_disks(&mut self, still: &Self::Still) -> Result<(), VmError>;

    /// Takes all locks of its disks that it does not have.
    ///
    /// # Errors
    /// Somebody else has one.
    fn retake_disks(&mut self, still: &Self::Still) -> Result<(), VmError>;

    /// A handle of its own on the memory, for those who send it while the VM is handed over.
    ///
    /// # Errors
    /// There is none to be had; memory cannot come after the VM then.
    fn lend_memory(&self) -> Result<Box<dyn SourceMemory + Send>, VmError> {
        Err("its memory goes before it or not at all".into())
    }

    /// The VM is the destination's: ends it here, without letting it run again.
    fn end(&mut self, still: Self::Still);
}

/// The VM that is to come.
pub trait DestinationVm {
    /// Its memory.
    type Memory: DestinationMemory;

    /// It is to be built around what a VMM on this host has had so far, and has still: nothing of it may be changed before
    /// [`take_disks`](Self::take_disks), with which it is this VM's.
    ///
    /// # Errors
    /// It cannot be had so.
    fn adopt(&mut self, _: Adoption) -> Result<(), VmError> {
        Err("memory cannot be taken over here".into())
    }

    /// Builds it: memory of zeros, devices, threads that wait. Nothing of it runs, and it takes no lock of a disk. Tells what saving
    /// and restoring such a VM takes, if it can try that out.
    ///
    /// # Errors
    /// The configuration cannot be had here.
    fn build(&mut self, config: &[u8]) -> Result<(&Self::Memory, Option<Rehearsal>), VmError>;

    /// Whether it can run while memory is missing.
    fn can_postpone(&self) -> bool {
        false
    }

    /// Makes these pages missing: what they hold is old, and who touches one waits for it from now on.
    ///
    /// # Errors
    /// This host cannot.
    fn postpone(&mut self, missing: &PageSet) -> Result<Arc<dyn LazyMemory>, VmError> {
        Err(format!("it cannot run without {} of its pages", missing.len()).into())
    }

    /// Gives it the source's state; its memory is complete, or what is missing comes when it is touched.
    ///
    /// # Errors
    /// The state is not that of such a VM.
    fn restore(&mut self, state: &[u8]) -> Result<(), VmError>;

    /// Takes the locks of its disks, and the memory that it was to adopt.
    ///
    /// # Errors
    /// Somebody has one.
    fn take_disks(&mut self) -> Result<(), VmError>;

    /// Lets it run, or keeps it paused.
    ///
    /// # Errors
    /// It does not run, and will not.
    fn start(&mut self, phase: Phase) -> Result<(), VmError>;

    /// There will be no VM: gives back what it has, locks of disks among it.
    fn discard(&mut self);
}
