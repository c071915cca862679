//! The source's end.

use std::time::Instant;

use super::copy::Copied;
use super::error::MigrationError;
use super::estimate::Costs;
use super::handle::Handle;
use super::phase::{SourceEvent, SourcePhase};
use super::rounds;
use super::vm::SourceVm;
use super::{Options, Report};
use crate::memory::{PageSet, SourceMemory};
use crate::wire::{
    Capabilities, Compression, Connection, MAX_CONNECTIONS, Mark, Message, PROTOCOL_VERSION,
    Session, Transport, WireError, unexpected_message,
};

/// How a migration ended for the source.
#[derive(Debug)]
pub enum Sent<S> {
    /// The VM is at the destination, and was ended here.
    Completed(Report),
    /// The VM is here, as it was before.
    Restored(MigrationError),
    /// Nobody here can know whose the VM is, or the VM could not be given back what it needs. It stands still, intact, for
    /// as long as `still` is kept; its disks are not locked. The operator decides: take the disks and let go, or end it.
    InDoubt {
        /// What holds it.
        still: S,
        /// What happened.
        error: MigrationError,
    },
    /// The VM went on at the destination without all of its memory, and the rest may not have come: it stands still here, as it was when it left, and
    /// must not go on, because it has gone on there.
    Stranded {
        /// What holds it.
        still: S,
        /// What happened.
        error: MigrationError,
    },
}

/// Sends a VM. The connections lead to the same destination; the first one carries the messages.
pub fn send<V: SourceVm, T: Transport>(
    vm: &mut V,
    transports: Vec<T>,
    options: &Options,
    handle: &Handle,
) -> Sent<V::Still> {
    let mut source = Source::new(vm, transports, options, handle);
    let result = source.run();
    source.conclude(result)
}

/// Who has the locks of the disks, as far as the source did anything about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Disks {
    Held,
    Released,
}

pub(super) struct Source<'m, V: SourceVm, T> {
    pub(super) vm: &'m mut V,
    pub(super) connections: Vec<Connection<T>>,
    pub(super) options: &'m Options,
    pub(super) handle: &'m Handle,
    pub(super) phase: SourcePhase,
    pub(super) compression: Compression,
    pub(super) costs: Costs,
    pub(super) throttle: u8,
    pub(super) still: Option<V::Still>,
    pub(super) disks: Disks,
    pub(super) began: Instant,
}

impl<'m, V: SourceVm, T: Transport> Source<'m, V, T> {
    pub(super) fn new(
        vm: &'m mut V,
        transports: Vec<T>,
        options: &'m Options,
        handle: &'m Handle,
    ) -> Self {
        let connect = |transport| Connection::new(transport, options.patience);
        Self {
            vm,
            connections: transports.into_iter().map(connect).collect(),
            options,
            handle,
            phase: SourcePhase::Connecting,
            compression: Compression::None,
            costs: Costs::unknown(),
            throttle: 0,
            still: None,
            disks: Disks::Held,
            began: Instant::now(),
        }
    }

    /// What it came to.
    pub(super) fn conclude(self, result: Result<Report, MigrationError>) -> Sent<V::Still> {
        let handle = self.handle;
        let sent = match result {
            Ok(report) => Sent::Completed(report),
            Err(error) => self.give_up(error),
        };
        // The handle outlives this, and what it interrupts with keeps the connections open.
        handle.interrupt();
        sent
    }

    pub(super) fn on(&mut self, event: SourceEvent) -> Result<(), MigrationError> {
        self.phase = self.phase.after(event)?;
        self.handle.set_phase(self.phase);
        Ok(())
    }

    pub(super) fn control(&mut self) -> Result<&mut Connection<T>, MigrationError> {
        self.connections.first_mut().ok_or(MigrationError::Connections(0))
    }

    fn run(&mut self) -> Result<Report, MigrationError> {
        let capabilities = self.greet()?;
        if self.may_postpone() && !capabilities.has(Capabilities::POSTCOPY) {
            return Err(MigrationError::NoPostCopy);
        }
        if capabilities.allow(self.options.compression) {
            self.compression = self.options.compression;
        }
        self.describe()?;
        // Switching it on waits for all processors, which the destination's building does not have to.
        self.vm.start_dirty_log().map_err(MigrationError::vm("start the dirty log"))?;
        self.await_built()?;
        self.on(SourceEvent::Accepted)?;
        match self.copy()? {
            Copied::All(round, pages, downtime) => self.finish(round, &pages, downtime),
            Copied::Postponed(round, pages) => self.postpone(round, pages),
        }
    }

    /// Begins: what the destination can do.
    pub(super) fn greet(&mut self) -> Result<Capabilities, MigrationError> {
        self.handle.set_phase(self.phase);
        let count = self.connections.len();
        let connections = u16::try_from(count).ok().filter(|n| (1..=MAX_CONNECTIONS).contains(n));
        let connections = connections.ok_or(MigrationError::Connections(count))?;
        self.check_connections()?;
        let interrupters = self.connections.iter().map(Connection::interrupter);
        self.handle.begin(interrupters.collect::<Result<_, _>>()?);
        let session = Session::random().map_err(WireError::from)?;
        self.control()?.send(Message::Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            session,
            capabilities: Capabilities::ALL,
            connections,
        })?;
        for (index, connection) in (0..).zip(&mut self.connections).skip(1) {
            connection.send(Message::Join { session, index })?;
        }
        match self.control()?.message("Welcome")? {
            Message::Welcome { version: PROTOCOL_VERSION, capabilities } => Ok(capabilities),
            other => Err(unexpected_message(&other, "Welcome").into()),
        }
    }

    /// Says what VM it is; the destination builds it from now on.
    pub(super) fn describe(&mut self) -> Result<(), MigrationError> {
        let regions = self.vm.memory().layout().regions().to_vec();
        let config = self.vm.config();
        Ok(self.control()?.send(Message::Describe { regions, config })?)
    }

    /// Waits until the destination has built it.
    pub(super) fn await_built(&mut self) -> Result<(), MigrationError> {
        match self.control()?.message("Built")? {
            Message::Built { rehearsal } => {
                self.costs.expect(self.vm.expected_pause(), rehearsal);
                Ok(())
            }
            other => Err(unexpected_message(&other, "Built").into()),
        }
    }

    /// Sends the pages of a round; says how many of them were not zeros.
    pub(super) fn send_pages(
        &mut self,
        mark: Mark,
        pages: &PageSet,
    ) -> Result<u64, MigrationError> {
        let how = (mark, self.compression);
        let data = rounds::send(&mut self.connections, self.vm.memory(), pages, how)?;
        self.control()?.send(Message::RoundEnd { round: mark.round })?;
        Ok(data)
    }

    pub(super) fn await_round(&mut self, round: u32) -> Result<(), MigrationError> {
        let asked = Instant::now();
        match self.control()?.message("RoundDone")? {
            Message::RoundDone { round: done } if done == round => {
                self.costs.round_trip = asked.elapsed();
                Ok(())
            }
            other => Err(unexpected_message(&other, "RoundDone").into()),
        }
    }
}
