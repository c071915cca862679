//! What the engine needs of a VM.

use std::time::Duration;

use super::error::VmError;
use crate::memory::{DestinationMemory, PageSet, SourceMemory};
use crate::wire::{Phase, Rehearsal};

/// The VM that is to go.
pub trait SourceVm {
    /// Its memory.
    type Memory: SourceMemory;
    /// The proof that nothing of the VM writes memory any more: one more holder of its pause. Dropping it lets go, and
    /// the VM is as it was: running, or paused by whoever else holds it.
    type Still;

    /// Its memory.
    fn memory(&self) -> &Self::Memory;

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

    /// The VM is the destination's: ends it here, without letting it run again.
    fn end(&mut self, still: Self::Still);
}

/// The VM that is to come.
pub trait DestinationVm {
    /// Its memory.
    type Memory: DestinationMemory;

    /// Builds it: memory of zeros, devices, threads that wait. Nothing of it runs, and it takes no lock of a disk. Tells what saving
    /// and restoring such a VM takes, if it can try that out.
    ///
    /// # Errors
    /// The configuration cannot be had here.
    fn build(&mut self, config: &[u8]) -> Result<(&Self::Memory, Option<Rehearsal>), VmError>;

    /// Gives it the source's state; its memory is complete.
    ///
    /// # Errors
    /// The state is not that of such a VM.
    fn restore(&mut self, state: &[u8]) -> Result<(), VmError>;

    /// Takes the locks of its disks.
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
