//! The destination's end of post-copy.

use std::io;
use std::mem::take;
use std::thread;
use std::time::Instant;

use vcpu_state::sync::Arc;

use super::super::commit::Owed;
use super::super::error::MigrationError;
use super::super::phase::DestinationEvent;
use super::super::receive::Destination;
use super::super::vm::DestinationVm;
use super::filling::Filling;
use super::{CONNECTIONS, beat};
use crate::crew::{self, Alarm};
use crate::memory::{Layout, PageSet};
use crate::wire::{Connection, Message, Phase, Transport, WireError, unexpected_message};

impl<V: DestinationVm, T: Transport> Destination<'_, V, T> {
    /// What comes after the state: the pages that come later, if any do, and whether the VM is to run.
    pub(in super::super) fn receive_missing(
        &mut self,
        layout: &Layout,
    ) -> Result<(Option<PageSet>, Phase), MigrationError> {
        let mut missing = None;
        let mut end = 0;
        loop {
            let runs = match self.control.message("Prepare")? {
                Message::Prepare { phase } => return Ok((missing, phase)),
                Message::Missing { runs } if !runs.is_empty() => runs,
                other => return Err(unexpected_message(&other, "Prepare").into()),
            };
            let missing = missing.get_or_insert_with(|| PageSet::empty(layout));
            for (first, count) in runs {
                let run = layout.run(first, count).filter(|run| run.first() >= end);
                let what =
                    || format!("{count} missing pages at page {first}, out of order or nowhere");
                let run = run.ok_or_else(|| WireError::Malformed { what: what() })?;
                missing.insert(run);
                end = run.end();
            }
        }
    }

    /// Takes a VM whose missing pages come later, and returns when all are there.
    pub(in super::super) fn run_lazily(
        &mut self,
        state: &[u8],
        (layout, missing): (&Layout, &PageSet),
        phase: Phase,
    ) -> Result<(), MigrationError> {
        let began = Instant::now();
        let mut lanes = take(&mut self.lanes);
        if lanes.len() + 1 < CONNECTIONS || !self.vm.can_postpone() {
            return Err(MigrationError::FewConnections(lanes.len() + 1));
        }
        let memory = self.vm.postpone(missing);
        let memory = memory.map_err(MigrationError::vm("have memory come later"))?;
        let filling = &Filling::new(Arc::clone(&memory), (layout, missing), lanes.len() - 1);
        let interrupters: Vec<_> =
            lanes.iter().map(Connection::interrupter).collect::<Result<_, _>>()?;
        let interrupt = &|| interrupters.iter().for_each(|interrupt| interrupt());
        let beat = beat(self.patience);
        // In the order of the source's.
        let [requests, pages @ ..] = &mut lanes[..] else {
            return Err(MigrationError::FewConnections(1));
        };
        let started = thread::scope(|scope| {
            let give_up = move || {
                filling.fail(&"a thread has ended");
                interrupt();
            };
            let _alarm = Alarm(give_up);
            let asking = crew::start(scope, "requests", move || {
                let _alarm = Alarm(give_up);
                filling.ask(requests, beat, interrupt);
            });
            let taking = pages.iter_mut().map(|lane| {
                crew::start(scope, "pages", move || {
                    let _alarm = Alarm(give_up);
                    filling.take_all(lane, interrupt);
                })
            });
            let threads: io::Result<Vec<_>> = taking.chain([asking]).collect();
            let threads =
                threads.map_err(|error| MigrationError::vm("start a thread")(error.into()));
            let (started, threads) = match threads {
                Ok(threads) => (self.take_over(filling, (state, phase), began), threads),
                Err(error) => (Err(error), Vec::new()),
            };
            if let Err(error) = &started {
                filling.fail(error);
                interrupt();
            }
            threads.into_iter().for_each(crew::join);
            started
        });
        started?;
        self.settle(filling, &*memory)
    }

    /// Up to the VM's start; without missing pages that are known not to come it is not started.
    fn take_over(
        &mut self,
        filling: &Filling,
        (state, phase): (&[u8], Phase),
        began: Instant,
    ) -> Result<(), MigrationError> {
        self.make_ready(state, began)?;
        if let Some(why) = filling.failure() {
            return Err(MigrationError::MissingLost { why: why.to_owned() });
        }
        self.start(Owed::Memory, phase)
    }

    /// All connections of pages have ended.
    fn settle(
        &mut self,
        filling: &Filling,
        memory: &dyn super::LazyMemory,
    ) -> Result<(), MigrationError> {
        let missing = filling.missing();
        let why = match filling.failure() {
            Some(why) => why.to_owned(),
            None if missing == 0 => match memory.complete() {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            },
            // Nobody needs any more.
            None => String::new(),
        };
        if why.is_empty() {
            self.on(DestinationEvent::Arrived)?;
            // The VM is whole, or has ended, whether or not the source hears of it.
            drop(self.control.send(Message::Arrived));
            return Ok(());
        }
        memory.fail(&why);
        self.on(DestinationEvent::Lost)?;
        let error = MigrationError::Interrupted { missing, why };
        let reason = error.to_string().into();
        drop(self.control.send(Message::Abort { reason }));
        Err(error)
    }
}
