//! What goes of a VM that stands still: its last pages, its state, and itself; and what is said of it in the end.
//!
//! ```text
//!   stop ─▶ finish ─▶ hand_over ─▶ completed        pre-copy: the last round, then as below
//!   stop ─▶ hand_over ─▶ completed                  memory was taken over
//!   stop ─▶ … ─▶ completed                          post-copy ([`postcopy`](super::postcopy)): the same parts, with pages in between
//! ```
//!
//! Invariant: nothing is saved or sent here without a [`SourceVm::Still`], and it is given up only by [`Source::completed`], when the VM is the destination's,
//! or by whoever gives the migration up.

use std::time::Instant;

use super::commit::Owed;
use super::error::MigrationError;
use super::phase::SourceEvent;
use super::send::Source;
use super::vm::SourceVm;
use super::{Downtime, Report};
use crate::memory::PageSet;
use crate::wire::{
    Connection, Frame, MAX_PAYLOAD, MAX_STATE, Mark, Message, Phase, Transport, WireError,
};

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    /// Makes the VM stand still, from when on its downtime counts.
    pub(super) fn stop(&mut self) -> Result<Downtime, MigrationError> {
        let stopped = Instant::now();
        self.still = Some(self.vm.pause().map_err(MigrationError::vm("pause the VM"))?);
        self.on(SourceEvent::Stop)?;
        Ok(Downtime { pause: stopped.elapsed(), ..Downtime::begun(stopped) })
    }

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
        self.prepare(phase)?;
        self.await_ready(&mut downtime)?;
        self.commit(Owed::Nothing, &mut downtime)?;
        Ok(self.completed(rounds, state, 0, downtime))
    }

    /// The destination has the VM, and is owed nothing: ends it here, and says what it came to.
    pub(super) fn completed(
        &mut self,
        rounds: u32,
        state: &[u8],
        postponed_pages: u64,
        downtime: Downtime,
    ) -> Report {
        if let Some(still) = self.still.take() {
            self.vm.end(still);
        }
        Report {
            rounds,
            sent_bytes: self.connections.iter().map(Connection::sent).sum(),
            state_bytes: state.len() as u64,
            postponed_pages,
            total: self.began.elapsed(),
            downtime,
        }
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
