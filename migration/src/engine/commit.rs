//! The commit, by which a VM that stands still changes hands: from `Prepare` to `Committed`, at both ends and for every kind of migration.
//!
//! ```text
//!   source                                                         destination
//!   Stopped     Prepare ─────────────────────────────────────────▶ restores the VM, makes ready         Receiving
//!   Handing     ◀───────────────────────────────────────── Ready                                        Ready
//!               passes the gate: from here on it is too late to cancel
//!               gives up the disks
//!   Committing  Commit ──────────────────────────────────────────▶ takes the disks, starts the VM
//!      ╎ doubt  ◀───────────────────────────────────── Committed   Started, or Filling if memory is owed
//!   Completed, or Serving if memory is owed
//! ```
//!
//! | what fails, and when | source | destination |
//! |---|---|---|
//! | anything, or a cancel, before `Commit` | takes back the disks that it gave up, lets the VM go on | discards its VM |
//! | the destination does not get the disks, or does not start the VM | the same, when it is told (`Refused`) | gives the disks up, discards its VM, says so |
//! | the link, before the answer to `Commit` | in doubt: the VM stands still, without its disks | starts the VM if `Commit` arrived whole, else discards it |
//!
//! Invariants:
//! - Never do both VMs run. The source's stands still ([`SourceVm::Still`]) from before `Prepare` on, and goes on only before
//!   `Commit`, or when the destination has said that it did not start and will not. The destination's starts only by a `Commit` that arrived whole.
//! - There is one window of doubt, `Committing`: from the first byte of `Commit` to the answer. Whatever is still known to be amiss has to be found
//!   before it, so who has more to look at than the disks does so between the two halves: [`Source::await_ready`] and [`Source::commit`],
//!   [`Destination::make_ready`] and [`Destination::start`].
//! - The disks are nobody's between the source's giving them up and the destination's taking them.

use std::time::{Duration, Instant};

use super::Downtime;
use super::error::MigrationError;
use super::phase::{DestinationEvent, SourceEvent};
use super::receive::Destination;
use super::send::{Disks, Source};
use super::vm::{DestinationVm, SourceVm};
use crate::wire::{Message, Phase, Transport, unexpected_message};

/// What the source still owes the destination when that has the VM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    Nothing,
    /// Pages that come after the VM.
    Memory,
}

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    /// Everything was sent but the word.
    pub(super) fn prepare(&mut self, phase: Phase) -> Result<(), MigrationError> {
        self.control()?.send(Message::Prepare { phase })?;
        self.on(SourceEvent::Sent)
    }

    /// The first half: until the destination has made ready.
    pub(super) fn await_ready(&mut self, downtime: &mut Downtime) -> Result<(), MigrationError> {
        match self.control()?.message("Ready")? {
            Message::Ready { setup } => downtime.setup = Duration::from_nanos(setup),
            other => return Err(unexpected_message(&other, "Ready").into()),
        }
        downtime.state = downtime.lap();
        Ok(())
    }

    /// The second half: gives the VM away. Without an error it is the destination's.
    pub(super) fn commit(
        &mut self,
        owed: Owed,
        downtime: &mut Downtime,
    ) -> Result<(), MigrationError> {
        if !self.handle.commit() {
            return Err(MigrationError::Cancelled);
        }
        // Before they are: an error may come when some have been given up.
        self.disks = Disks::Released;
        let Some(still) = &self.still else { return Err(MigrationError::Cancelled) };
        self.vm.release_disks(still).map_err(MigrationError::vm("give up the disks"))?;
        // Before the first byte, which may arrive whatever becomes of the rest.
        self.on(SourceEvent::Ready)?;
        self.control()?.send(Message::Commit)?;
        match self.control()?.message("Committed")? {
            Message::Committed => {}
            other => return Err(unexpected_message(&other, "Committed").into()),
        }
        downtime.commit = downtime.lap();
        self.on(match owed {
            Owed::Nothing => SourceEvent::Acknowledged,
            Owed::Memory => SourceEvent::Entrusted,
        })
    }
}

impl<V: DestinationVm, T: Transport> Destination<'_, V, T> {
    /// The first half: has the VM ready to start, since `began`, and waits until it is given away.
    pub(super) fn make_ready(
        &mut self,
        state: &[u8],
        began: Instant,
    ) -> Result<(), MigrationError> {
        self.vm.restore(state).map_err(MigrationError::vm("restore the VM's state"))?;
        self.on(DestinationEvent::Prepared)?;
        let setup = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.control.send(Message::Ready { setup })?;
        match self.control.message("Commit")? {
            Message::Commit => Ok(()),
            other => Err(unexpected_message(&other, "Commit").into()),
        }
    }

    /// The second half: takes the VM. Without an error it is here.
    pub(super) fn start(&mut self, owed: Owed, phase: Phase) -> Result<(), MigrationError> {
        self.vm.take_disks().map_err(MigrationError::vm("take the disks"))?;
        self.vm.start(phase).map_err(MigrationError::vm("start the VM"))?;
        self.on(match owed {
            Owed::Nothing => DestinationEvent::Committed,
            Owed::Memory => DestinationEvent::Entrusted,
        })?;
        // The VM is here, whether or not the source hears of it.
        drop(self.control.send(Message::Committed));
        Ok(())
    }
}
