//! Copying memory while the VM is as it was, until little enough is left to stop it.

use std::time::{Duration, Instant};

use super::error::MigrationError;
use super::estimate::throttle;
use super::handle::Round;
use super::phase::SourceEvent;
use super::send::Source;
use super::vm::SourceVm;
use super::{Downtime, Strategy};
use crate::memory::{PAGE_SIZE, PageSet, SourceMemory};
use crate::wire::{Connection, Mark, Transport};

/// What to do after a round.
#[derive(PartialEq, Eq)]
enum Next {
    Again,
    Stop,
}

/// What the copying came to: a round that is still to be sent, and its pages.
pub(super) enum Copied {
    /// The VM stands still, since then; that is the last round.
    All(u32, PageSet, Downtime),
    /// The VM is as it was; the pages are to come after it.
    Postponed(u32, PageSet),
}

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    /// Copies memory until little enough is left, and stops the VM; or until the rest is to come after it.
    pub(super) fn copy(&mut self) -> Result<Copied, MigrationError> {
        let mut pages = PageSet::all(self.vm.memory().layout());
        let mut round = 0;
        loop {
            if self.is_to_postpone(round) {
                return Ok(Copied::Postponed(round, pages));
            }
            let began = Instant::now();
            let sent = self.send_pages(Mark { round, is_last: false }, &pages)?;
            self.await_round(round)?;
            let took = began.elapsed();
            pages = self.vm.dirty().map_err(MigrationError::vm("read the dirty log"))?;
            round += 1;
            if self.after_round(sent, pages.len(), took)? == Next::Again {
                continue;
            }
            let downtime = self.stop()?;
            self.costs.pause = downtime.pause;
            let still = self.still.as_ref();
            let last = still.map(|still| self.vm.last_dirty(still)).transpose();
            let last = last.map_err(MigrationError::vm("read the dirty log"))?;
            if let Some(last) = &last {
                pages.add_all(last);
            }
            if self.costs.downtime(pages.len()) <= self.limit(self.is_out_of_time()) {
                return Ok(Copied::All(round, pages, downtime));
            }
            // More was written meanwhile, or the pause took longer, than was expected.
            self.still = None;
            self.on(SourceEvent::NotYet)?;
        }
    }

    fn after_round(
        &mut self,
        sent: u64,
        left: u64,
        took: Duration,
    ) -> Result<Next, MigrationError> {
        let seconds = took.as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = |pages: u64| (pages * PAGE_SIZE as u64) as f64 / seconds;
        self.costs.carried(sent, took);
        let dirty_rate = rate(left);
        let expected_downtime = self.costs.downtime(left);
        self.handle.set_round(&Round {
            sent_bytes: self.connections.iter().map(Connection::sent).sum(),
            remaining_pages: left,
            bandwidth: self.costs.bandwidth,
            dirty_rate,
            expected_downtime,
        });
        // Looked at once: a time-out between two looks would end what `Ignore` is to stop.
        let is_late = self.is_out_of_time();
        if expected_downtime <= self.limit(is_late) {
            return Ok(Next::Stop);
        }
        if is_late && !self.may_postpone() {
            let (timeout, limit) = (self.options.timeout, self.options.downtime);
            return Err(MigrationError::TimedOut { timeout, expected: expected_downtime, limit });
        }
        // A pause that took long once, on a host that was busy, must not keep the VM here for ever.
        self.costs.pause /= 2;
        if self.options.strategy == Strategy::Throttle {
            self.throttle(throttle(self.throttle, dirty_rate, self.costs.bandwidth));
        }
        Ok(Next::Again)
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        self.began.elapsed() >= self.options.timeout
    }

    /// What the downtime may be: anything, when the time is over and the operator would rather have that.
    fn limit(&self, is_late: bool) -> Duration {
        match self.options.strategy {
            Strategy::Ignore if is_late && !self.may_postpone() => Duration::MAX,
            _ => self.options.downtime,
        }
    }

    pub(super) fn throttle(&mut self, percent: u8) {
        if percent != self.throttle {
            self.vm.throttle(percent);
            self.throttle = percent;
            self.handle.set_throttle(percent);
        }
    }
}
