//! The destination's end.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::adoption::Extent;
use super::commit::Owed;
use super::error::MigrationError;
use super::lanes::{Lane, Lanes};
use super::local::Memory;
use super::phase::{DestinationEvent, DestinationPhase};
use super::vm::DestinationVm;
use crate::crew::{self, Alarm};
use crate::memory::{DestinationMemory, Layout};
use crate::wire::{
    Capabilities, Connection, Frame, MAX_CONNECTIONS, MAX_STATE, Message, PROTOCOL_VERSION,
    Session, Transport, WireError, unexpected, unexpected_message,
};

/// Receives a VM: when this returns without an error, the VM is here, running or paused as it was. `accept` brings
/// the connections of the source, the first one with the messages; `patience` is how long any frame may take to go or
/// come, the source's work in between counted.
///
/// # Errors
/// The VM is not here, was discarded, and has not run; or, if the error is [`MigrationError::Interrupted`], it has run without all of its memory, and has
/// ended.
pub fn receive<V: DestinationVm, T: Transport>(
    vm: &mut V,
    mut accept: impl FnMut() -> io::Result<T>,
    patience: Duration,
) -> Result<(), MigrationError> {
    let accepted = accept().map_err(WireError::from)?;
    let mut destination = Destination {
        vm,
        control: Connection::new(accepted, patience),
        lanes: Vec::new(),
        phase: DestinationPhase::Greeting,
        extent: Extent::Memory,
        patience,
    };
    destination.run(accept).map_err(|error| destination.give_up(error))
}

pub(super) struct Destination<'m, V, T> {
    pub(super) vm: &'m mut V,
    pub(super) control: Connection<T>,
    /// The other connections.
    pub(super) lanes: Vec<Connection<T>>,
    phase: DestinationPhase,
    /// How much is passed, if memory is not sent.
    pub(super) extent: Extent,
    pub(super) patience: Duration,
}

impl<V: DestinationVm, T: Transport> Destination<'_, V, T> {
    pub(super) fn on(&mut self, event: DestinationEvent) -> Result<(), MigrationError> {
        self.phase = self.phase.after(event)?;
        Ok(())
    }

    fn run(&mut self, accept: impl FnMut() -> io::Result<T>) -> Result<(), MigrationError> {
        self.greet(accept)?;
        let layout = self.receive_memory()?;
        let state = self.receive_state()?;
        let phase = match self.receive_missing(&layout)? {
            (None, phase) => phase,
            (Some(missing), phase) => return self.run_lazily(&state, (&layout, &missing), phase),
        };
        self.make_ready(&state, Instant::now())?;
        self.start(Owed::Nothing, phase)
    }

    fn greet(&mut self, mut accept: impl FnMut() -> io::Result<T>) -> Result<(), MigrationError> {
        let (session, offered, connections) = match self.control.message("Hello")? {
            Message::Hello { min_version, max_version, session, capabilities, connections } => {
                if !(min_version..=max_version).contains(&PROTOCOL_VERSION) {
                    let (min, max) = (min_version, max_version);
                    return Err(WireError::Version { min, max }.into());
                }
                (session, capabilities, connections)
            }
            other => return Err(unexpected_message(&other, "Hello").into()),
        };
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            return Err(MigrationError::Connections(connections.into()));
        }
        self.accept_lanes(session, connections, &mut accept)?;
        let mut capabilities = Capabilities::ALL.and(offered);
        if !self.vm.can_postpone() {
            capabilities = capabilities.without(Capabilities::POSTCOPY);
        }
        self.extent = Extent::of(capabilities);
        self.control.send(Message::Welcome { version: PROTOCOL_VERSION, capabilities })?;
        Ok(())
    }

    /// The other connections of the session, each once, in any order.
    fn accept_lanes(
        &mut self,
        session: Session,
        connections: u16,
        accept: &mut impl FnMut() -> io::Result<T>,
    ) -> Result<(), MigrationError> {
        let mut lanes: Vec<_> = (0..connections).map(|_| None).collect();
        for _ in 1..connections {
            let accepted = accept().map_err(WireError::from)?;
            let mut lane = Connection::new(accepted, self.patience);
            let index = match lane.message("Join")? {
                Message::Join { session: joined, index } if joined == session => index,
                other => return Err(unexpected_message(&other, "Join of this migration").into()),
            };
            match lanes.get_mut(usize::from(index)) {
                Some(place @ None) if index > 0 => *place = Some(lane),
                _ => return Err(MigrationError::Connections(index.into())),
            }
        }
        // In the order of the source's, which is not that of their coming.
        self.lanes = lanes.into_iter().flatten().collect();
        Ok(())
    }

    fn receive_memory(&mut self) -> Result<Layout, MigrationError> {
        let (layout, config, source) = self.described()?;
        let built = self.vm.build(&config).map_err(MigrationError::vm("build the VM"))?;
        let (memory, rehearsal) = built;
        if memory.layout() != &layout {
            return Err(MigrationError::OtherLayout);
        }
        self.phase = self.phase.after(DestinationEvent::Described)?;
        self.control.send(Message::Built { rehearsal })?;
        if source == Memory::Adopted {
            return Ok(layout);
        }
        let (control, patience) = (&mut self.control, self.patience);
        let shared = &Lanes::new();
        let interrupters: Vec<_> =
            self.lanes.iter().map(Connection::interrupter).collect::<Result<_, _>>()?;
        thread::scope(|scope| {
            let interrupt_all = || interrupters.iter().for_each(|interrupt| interrupt());
            let _alarm = Alarm(interrupt_all);
            let lanes = self.lanes.iter_mut().zip(&interrupters);
            let threads: Vec<_> = lanes
                .map(|(lane, interrupt)| {
                    crew::start(scope, "pages", move || {
                        let _alarm = Alarm(|| shared.fail());
                        // So that the source, which may be sending there, notices.
                        shared.pump(lane, memory).inspect_err(|_| interrupt())
                    })
                })
                .collect();
            let rounds = if threads.iter().all(Result::is_ok) {
                receive_rounds(control, memory, (threads.len(), shared), patience)
            } else {
                Err(WireError::Closed { waiting_for: "pages" })
            };
            if rounds.is_err() {
                interrupt_all();
            }
            let mut pumped = Ok(());
            for thread in threads {
                let thread =
                    thread.map_err(|error| MigrationError::vm("start a thread")(error.into()));
                pumped = pumped.and(thread.and_then(|thread| Ok(crew::join(thread)?)));
            }
            // Who was closed says least about why.
            match pumped {
                Err(MigrationError::Wire(WireError::Closed { .. })) | Ok(()) => {
                    Ok(rounds.map_err(MigrationError::from).and(pumped)?)
                }
                Err(error) => Err(error),
            }
        })
        .map(|()| layout)
    }

    fn receive_state(&mut self) -> Result<Vec<u8>, MigrationError> {
        let (bytes, crc) = match self.control.message("State")? {
            Message::State { bytes, crc } if bytes <= MAX_STATE => (bytes, crc),
            Message::State { bytes, .. } => return Err(WireError::TooLong { bytes }.into()),
            other => return Err(unexpected_message(&other, "State").into()),
        };
        // Grows with what comes, not with what was announced.
        let mut state = Vec::new();
        while (state.len() as u64) < bytes {
            match self.control.receive("the state")? {
                Frame::State(part) if !part.is_empty() => state.extend(part),
                other => return Err(unexpected(&other, "the state").into()),
            }
        }
        if state.len() as u64 != bytes || crc32c::crc32c(&state) != crc {
            return Err(WireError::Checksum.into());
        }
        Ok(state)
    }

    /// Discards the VM, then tells the source why: it may take the disks back when it hears of it.
    fn give_up(&mut self, error: MigrationError) -> MigrationError {
        if self.phase == DestinationPhase::Interrupted {
            // It was let go, and has ended; the source has been told.
            return error;
        }
        // Legal: nothing fails after the start.
        drop(self.on(DestinationEvent::Lost));
        self.vm.discard();
        self.lanes.clear();
        let reason = error.to_string().into();
        if self.control.send(Message::Refused { reason }).is_ok() {
            // A connection that is closed with something unread in it may lose what was sent.
            let deadline = Instant::now() + self.patience;
            while Instant::now() < deadline && self.control.receive("the end").is_ok() {}
        }
        error
    }
}

/// Takes the frames of the control connection until the last round has ended.
fn receive_rounds<T: Transport>(
    control: &mut Connection<T>,
    memory: &impl DestinationMemory,
    (lanes, shared): (usize, &Lanes),
    patience: Duration,
) -> Result<(), WireError> {
    let mut lane = Lane::default();
    loop {
        let frame = control.receive("pages")?;
        let Frame::Message(message) = frame else {
            lane.take(&frame, memory, shared)?;
            continue;
        };
        let round = match message {
            // Behind the control connection's own mark.
            Message::RoundEnd { round } if round.checked_add(1) == Some(lane.round()) => round,
            other => return Err(unexpected_message(&other, "the end of a round")),
        };
        shared.await_marks((lanes, round), patience)?;
        shared.open_after(round);
        control.send(Message::RoundDone { round })?;
        if lane.is_done() {
            return Ok(());
        }
    }
}
