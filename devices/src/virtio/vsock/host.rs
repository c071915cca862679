//! The host's side: clients that come, sockets that are ready, and what is listened to.
//!
//! ```text
//!              room              ready
//!   Unheard ────────────▶ Heard ────────▶ accept ─▶ Heard
//!    ▲   ▲      full        │               │ no descriptor left
//!    │   └──────────────────┘               ▼
//!    └──────── next call ──────────────── Failed
//! ```

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use super::connection::State;
use super::count;
use super::greeting::{Greeted, Greeting};
use super::table::{Peer, Slot};
use super::worker::{BATCH, VsockWorker};
use crate::virtio::{Interest, Listening, Token, WorkerError};

/// The listening socket's token; the others are slots, from the next on.
pub(super) const LISTENER: Token = Token(0);

/// Whether the listening socket is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    /// It is.
    Heard,
    /// It is not: there is no room for a client, or it has not begun.
    Unheard,
    /// It is not: taking a client has just failed. It is tried again when something else has happened.
    Failed,
}

impl VsockWorker {
    /// Takes clients of the host.
    pub(super) fn accept(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        if self.clients != Clients::Heard {
            return Ok(());
        }
        for _ in 0..BATCH {
            if self.table.is_full() {
                break;
            }
            match self.listener.accept() {
                Ok(socket) => {
                    let index = self.table.insert(Peer::Greeting(Greeting::new(socket)));
                    self.touched.push(index);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::warn!(%error, "a client of a vsock device could not be taken");
                    listening.remove(self.listener.as_fd()).map_err(failed)?;
                    self.clients = Clients::Failed;
                    break;
                }
            }
        }
        Ok(())
    }

    /// A socket is ready.
    pub(super) fn ready(&mut self, index: u32) {
        self.touched.push(index);
        let Some(slot) = self.table.get_mut(index) else { return };
        match &mut slot.peer {
            Peer::Connection(connection) => connection.ready(),
            Peer::Greeting(greeting) => match greeting.read() {
                Greeted::NotYet => {}
                Greeted::Nonsense => count(&self.counts.bad_greetings, 1),
                Greeted::Wants(port) => self.table.promote(index, port),
            },
        }
    }

    /// Listens for what is wanted of every socket that was touched, lets go of who is done, and lines up who has something to
    /// say to the guest.
    pub(super) fn settle(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        while let Some(index) = self.touched.pop() {
            let Some(slot) = self.table.get_mut(index) else { continue };
            let (wanted, end, speaks) = match &slot.peer {
                Peer::Greeting(greeting) if greeting.is_over() => (None, true, false),
                Peer::Greeting(_) => (Some(Interest::Readable), false, false),
                Peer::Connection(connection) => {
                    let end = connection.state() == State::Closed;
                    (connection.interest(), end, connection.has_packet())
                }
            };
            listen(slot, wanted, Token(index + 1), listening)?;
            if end {
                self.table.remove(index);
            } else if speaks {
                self.table.line_up(index);
            }
        }
        self.listen_for_clients(listening)
    }

    fn listen_for_clients(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        let socket = self.listener.as_fd();
        match (self.clients, self.table.is_full()) {
            (Clients::Unheard, false) => {
                listening.add(socket, LISTENER, Interest::Readable).map_err(failed)?;
                self.clients = Clients::Heard;
            }
            (Clients::Heard, true) => {
                listening.remove(socket).map_err(failed)?;
                self.clients = Clients::Unheard;
            }
            _ => {}
        }
        Ok(())
    }
}

fn failed(source: std::io::Error) -> WorkerError {
    WorkerError::Host { what: "listen to a socket", source }
}

fn listen(
    slot: &mut Slot,
    wanted: Option<Interest>,
    token: Token,
    listening: &mut Listening<'_>,
) -> Result<(), WorkerError> {
    let socket = socket_of(&slot.peer);
    match (slot.registered, wanted) {
        (before, now) if before == now => Ok(()),
        (None, Some(interest)) => listening.add(socket, token, interest),
        (Some(_), Some(interest)) => listening.modify(socket, token, interest),
        (_, None) => listening.remove(socket),
    }
    .map_err(failed)?;
    slot.registered = wanted;
    Ok(())
}

fn socket_of(peer: &Peer) -> BorrowedFd<'_> {
    match peer {
        Peer::Greeting(greeting) => greeting.socket.as_fd(),
        Peer::Connection(connection) => connection.socket.as_fd(),
    }
}
