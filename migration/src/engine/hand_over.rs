//! Handing a VM over that stands still.

use std::time::Duration;

use super::error::MigrationError;
use super::phase::SourceEvent;
use super::send::{Disks, Source};
use super::vm::SourceVm;
use super::{Downtime, Report};
use crate::memory::PageSet;
use crate::wire::{
    Connection, Frame, MAX_PAYLOAD, MAX_STATE, Mark, Message, Phase, Transport, WireError,
    unexpected_message,
};

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    /// Sends what is left of a VM that stands still, and hands it over.
    pub(super) fn finish(
        &mut self,
        round: u32,
        pages: &PageSet,
        mut downtime: Downtime,
    ) -> Result<Report, MigrationError> {
        self.send_pages(Mark { round, is_last: true }, pages)?;
        let (phase, state) = self.saved()?;
        self.await_round(round)?;
        downtime.pages = downtime.lap();
        self.hand_over(round + 1, (phase, &state), downtime)
    }

    /// Whether the VM is to run, and its state; from here on its owner knows that it leaves.
    pub(super) fn saved(&mut self) -> Result<(Phase, Vec<u8>), MigrationError> {
        let Some(still) = &self.still else { return Err(MigrationError::Cancelled) };
        let (phase, state) = (self.vm.phase(still), self.vm.save(still));
        Ok((phase, state.map_err(MigrationError::vm("save the VM's state"))?))
    }

    /// Hands a VM over of which the destination has the memory.
    pub(super) fn hand_over(
        &mut self,
        rounds: u32,
        (phase, state): (Phase, &[u8]),
        mut downtime: Downtime,
    ) -> Result<Report, MigrationError> {
        self.send_state(state)?;
        self.control()?.send(Message::Prepare { phase })?;
        self.on(SourceEvent::Sent)?;
        match self.control()?.message("Ready")? {
            Message::Ready { setup } => downtime.setup = Duration::from_nanos(setup),
            other => return Err(unexpected_message(&other, "Ready").into()),
        }
        downtime.state = downtime.lap();
        if !self.handle.commit() {
            return Err(MigrationError::Cancelled);
        }
        self.disks = Disks::Released;
        let Some(still) = &self.still else { return Err(MigrationError::Cancelled) };
        self.vm.release_disks(still).map_err(MigrationError::vm("give up the disks"))?;
        self.on(SourceEvent::Ready)?;
        self.control()?.send(Message::Commit)?;
        match self.control()?.message("Committed")? {
            Message::Committed => {}
            other => return Err(unexpected_message(&other, "Committed").into()),
        }
        downtime.commit = downtime.lap();
        self.on(SourceEvent::Acknowledged)?;
        if let Some(still) = self.still.take() {
            self.vm.end(still);
        }
        let sent_bytes = self.connections.iter().map(Connection::sent).sum();
        let total = self.began.elapsed();
        Ok(Report {
            rounds,
            sent_bytes,
            state_bytes: state.len() as u64,
            postponed_pages: 0,
            total,
            downtime,
        })
    }

    pub(super) fn send_state(&mut self, state: &[u8]) -> Result<(), MigrationError> {
        let bytes = state.len() as u64;
        if bytes > MAX_STATE {
            return Err(WireError::TooLong { bytes }.into());
        }
        let control = self.control()?;
        let announced = Message::State { bytes, crc: crc32c::crc32c(state) };
        control.queue(&Frame::Message(announced))?;
        for part in state.chunks(MAX_PAYLOAD) {
            control.queue(&Frame::State(part))?;
        }
        Ok(())
    }
}
