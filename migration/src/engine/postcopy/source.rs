//! The source's end of post-copy.

use std::io;
use std::thread;

use super::super::commit::Owed;
use super::super::error::MigrationError;
use super::super::phase::SourceEvent;
use super::super::send::Source;
use super::super::vm::SourceVm;
use super::super::{Downtime, Report};
use super::memory::Lent;
use super::pushing::{Kind, Pushing};
use super::{CONNECTIONS, MemoryMode, beat};
use crate::crew::{self, Alarm};
use crate::memory::{PageSet, SourceMemory};
use crate::wire::{Connection, Mark, Message, Transport, WireError, unexpected_message};

/// Runs of missing pages in one message: far less than a payload.
const RUNS: usize = 32 << 10;

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    /// Whether memory may come after the VM.
    pub(in super::super) fn may_postpone(&self) -> bool {
        self.options.memory != MemoryMode::PreCopy
    }

    /// Whether memory is to come after the VM from here on, before this round.
    pub(in super::super) fn is_to_postpone(&self, round: u32) -> bool {
        match self.options.memory {
            MemoryMode::PreCopy => false,
            MemoryMode::PostCopy { rounds } => round >= rounds || self.is_out_of_time(),
        }
    }

    /// Stops the VM although `pages` are left, and hands it over.
    pub(in super::super) fn postpone(
        &mut self,
        round: u32,
        mut pages: PageSet,
    ) -> Result<Report, MigrationError> {
        let mut downtime = self.stop()?;
        let memory = self.vm.lend_memory().map_err(MigrationError::vm("lend the VM's memory"))?;
        if round == 0 {
            pages = data_of(&*memory).map_err(WireError::from)?;
        } else if let Some(still) = &self.still {
            let last = self.vm.last_dirty(still);
            pages.add_all(&last.map_err(MigrationError::vm("read the dirty log"))?);
        }
        if pages.is_empty() {
            return self.finish(round, &pages, downtime);
        }
        // The connections of pages say that no round follows.
        self.send_pages(Mark { round, is_last: true }, &PageSet::empty(memory.layout()))?;
        let (phase, state) = self.saved()?;
        self.await_round(round)?;
        downtime.pages = downtime.lap();
        self.send_state(&state)?;
        let runs: Vec<_> = pages.runs().map(|run| (run.first(), run.count())).collect();
        for runs in runs.chunks(RUNS) {
            self.control()?.send(Message::Missing { runs: runs.to_vec() })?;
        }
        self.prepare(phase)?;

        let pushing = Pushing::new(Lent(memory), &pages);
        let mut lanes = self.connections.split_off(1);
        let handed = self.push_and_hand_over(&pushing, &mut lanes, &mut downtime);
        self.connections.append(&mut lanes);
        handed?;
        self.on(SourceEvent::Arrived)?;
        Ok(self.completed(round + 1, &state, pages.len(), downtime))
    }

    fn push_and_hand_over(
        &mut self,
        pushing: &Pushing,
        lanes: &mut [Connection<T>],
        downtime: &mut Downtime,
    ) -> Result<(), MigrationError> {
        let (handle, compression) = (self.handle, self.compression);
        let beat = beat(self.options.patience);
        let [requests, pages @ ..] = lanes else { return Err(MigrationError::Connections(1)) };
        thread::scope(|scope| {
            // So that a source that hears nothing any more does not wait for ever; nothing, when all is sent.
            let give_up = move || {
                pushing.fail();
                handle.interrupt_from(1);
            };
            let _alarm = Alarm(give_up);
            let listener = crew::start(scope, "requests", move || {
                let _alarm = Alarm(give_up);
                let error = pushing.listen(requests);
                give_up();
                error
            });
            let kinds = [Kind::Urgent].into_iter().chain(std::iter::repeat(Kind::Any));
            let pushers: Vec<_> = pages
                .iter_mut()
                .zip(kinds)
                .map(|(lane, kind)| {
                    crew::start(scope, "pages", move || {
                        let _alarm = Alarm(give_up);
                        let pushed = pushing.push(lane, (kind, compression), beat);
                        pushed.inspect_err(|_| handle.interrupt_from(1))
                    })
                })
                .collect();
            let (listener, pushers) = match all_of(listener, pushers) {
                Ok(started) => started,
                Err(error) => {
                    // The others end with the scope.
                    give_up();
                    return Err(MigrationError::vm("start a thread")(error.into()));
                }
            };
            let handed = self.hand_over_lazily(pushing, downtime);
            if handed.is_err() {
                give_up();
            }
            let pushed = pushers.into_iter().map(crew::join).fold(Ok(()), Result::and);
            let arrived = handed.and_then(|()| self.await_arrival(pushed));
            handle.interrupt_from(1);
            // Whatever it has to say was heard, or is known better.
            drop(listener.join());
            arrived
        })
    }

    /// From `Prepare` to `Committed`: a VM whose pages cannot follow is not given away.
    fn hand_over_lazily(
        &mut self,
        pushing: &Pushing,
        downtime: &mut Downtime,
    ) -> Result<(), MigrationError> {
        self.await_ready(downtime)?;
        if pushing.has_failed() {
            return Err(WireError::Closed { waiting_for: "the connections of pages" }.into());
        }
        self.commit(Owed::Memory, downtime)
    }

    /// All was sent, or the connections broke: what the destination says of it.
    fn await_arrival(&mut self, pushed: Result<(), WireError>) -> Result<(), MigrationError> {
        let waiting_for = "the arrival of all memory";
        match self.control()?.message(waiting_for) {
            // Also when it needs no more, because its VM has ended.
            Ok(Message::Arrived) => Ok(()),
            Ok(other) => Err(unexpected_message(&other, waiting_for).into()),
            // Who was closed says least about why.
            Err(closed @ WireError::Closed { .. }) => Err(pushed.err().unwrap_or(closed).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there are connections enough for what was asked for.
    pub(in super::super) fn check_connections(&self) -> Result<(), MigrationError> {
        let count = self.connections.len();
        let is_enough = !self.may_postpone() || count >= CONNECTIONS;
        if is_enough { Ok(()) } else { Err(MigrationError::FewConnections(count)) }
    }
}

/// The threads, if all of them could be started.
fn all_of<A, B>(one: io::Result<A>, others: Vec<io::Result<B>>) -> io::Result<(A, Vec<B>)> {
    Ok((one?, others.into_iter().collect::<io::Result<_>>()?))
}

/// The pages that may hold something.
fn data_of(memory: &dyn SourceMemory) -> std::io::Result<PageSet> {
    let mut pages = PageSet::empty(memory.layout());
    let mut rest = Some(memory.layout().all());
    while let Some(left) = rest {
        let data = memory.next_data(left)?;
        if let Some(data) = data {
            pages.insert(data);
        }
        rest = data.and_then(|data| left.from(data.end()));
    }
    Ok(pages)
}
