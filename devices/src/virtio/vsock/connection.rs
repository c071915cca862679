//! One connection: what the guest has been told, what it may do, and the host's socket.
//!
//! ```text
//!   host connects ─▶ Requested ─RESPONSE─▶ Established ◀─ the guest's REQUEST, host listens
//!                        │                   │   │
//!              RST, gone │   broken rule, or │   │ RST
//!                        │    both ways done ▼   ▼
//!                        └───────────────▶ Reset ─RST sent─▶ Closed
//! ```
//!
//! Each way ends on its own. Towards the host: the guest says that it sends no more, then, when all has been written,
//! the socket is shut down for writing. Towards the guest: the socket ends, then SHUTDOWN is sent behind the last byte.
//!
//! Invariants:
//! - At most [`BUF_ALLOC`](super::to_host::BUF_ALLOC) bytes of the guest are held; a guest that sends more than it was granted is reset.
//! - The guest is never sent more than it has granted; what it has no room for stays in the host's socket.
//! - Nothing here blocks: a host that does not read costs the guest its credit, nobody else anything.

mod outgoing;

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::credit::Credit;
use super::packet::{Header, Key, Op, done};
use super::to_host::ToHost;
use crate::virtio::Interest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The guest has been, or will be, asked.
    Requested,
    /// Both sides have agreed.
    Established,
    /// The guest is yet to be told that it is over.
    Reset,
    /// It is over, and the guest knows.
    Closed,
}

pub(super) struct Connection {
    pub(super) key: Key,
    /// Non-blocking.
    pub(super) socket: OwnedFd,
    state: State,
    /// REQUEST or RESPONSE, until it is sent.
    opening: Option<Op>,
    to_host: ToHost,
    /// The guest asks for its credit.
    owes_credit: bool,
    credit: Credit,
    /// What the guest will do no more ([`done`]).
    guest_done: u32,
    /// What the host will do no more, and what of it the guest knows.
    host_done: u32,
    told_done: u32,
    /// The socket may have bytes.
    readable: bool,
}

impl Connection {
    /// The host has connected and wants this port of the guest.
    pub(super) fn requested(key: Key, socket: OwnedFd) -> Self {
        Self::new(key, socket, State::Requested, Op::Request)
    }

    /// The guest has asked for a port on which the host listens.
    pub(super) fn accepted(socket: OwnedFd, request: &Header) -> Self {
        let mut this = Self::new(request.key(), socket, State::Established, Op::Response);
        this.credit.update(request);
        this
    }

    fn new(key: Key, socket: OwnedFd, state: State, opening: Op) -> Self {
        Self {
            key,
            socket,
            state,
            opening: Some(opening),
            to_host: ToHost::new(),
            owes_credit: false,
            credit: Credit::default(),
            guest_done: 0,
            host_done: 0,
            told_done: 0,
            readable: false,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Breaks it off.
    pub(super) fn reset(&mut self) {
        self.state = State::Reset;
        self.to_host.clear();
        // The host's client sees the end now, whenever the guest has room for the packet that tells it.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// What is to be listened for at the socket. A socket that has hung up is always ready, so one of which nothing is
    /// wanted is not listened to at all; only while the guest is being asked is its end of interest.
    pub(super) fn interest(&self) -> Option<Interest> {
        match self.state {
            State::Requested => Some(Interest::Nothing),
            State::Established => {
                match (self.reads() && !self.readable, !self.to_host.is_empty()) {
                    (true, true) => Some(Interest::Both),
                    (true, false) => Some(Interest::Readable),
                    (false, true) => Some(Interest::Writable),
                    (false, false) => None,
                }
            }
            State::Reset | State::Closed => None,
        }
    }

    /// The socket is ready, or was: whatever that means now.
    pub(super) fn ready(&mut self) {
        match self.state {
            State::Requested if hung_up(&self.socket) => self.reset(),
            State::Established => {
                self.readable |= self.reads();
                self.settle();
            }
            _ => {}
        }
    }

    /// Takes a packet of the guest, of which the operation is `None` if there is no such. Its payload has been checked to be
    /// as long as its header says.
    pub(super) fn take(
        &mut self,
        op: Option<Op>,
        header: &Header,
        payload: &[u8],
    ) -> Result<(), Violation> {
        if op == Some(Op::Reset) {
            self.state = State::Closed;
            return Ok(());
        }
        if self.state == State::Reset {
            // Sent before it knew.
            return Ok(());
        }
        self.credit.update(header);
        let taken = match (self.state, op) {
            (State::Requested, Some(Op::Response)) => {
                self.establish();
                Ok(())
            }
            (State::Established, Some(Op::Data)) => self.take_data(payload),
            (State::Established, Some(Op::Shutdown)) => {
                self.guest_done |= header.flags & done::BOTH;
                if self.guest_done & done::RECEIVE != 0 {
                    // The host's writes fail from now on, as far as it has not gone itself.
                    let _ = shutdown(&self.socket, Shutdown::Read);
                }
                self.settle();
                Ok(())
            }
            (State::Established, Some(Op::CreditRequest)) => {
                self.owes_credit = true;
                Ok(())
            }
            (State::Established, Some(Op::CreditUpdate)) => Ok(()),
            _ => Err(Violation::Operation),
        };
        if taken.is_err() {
            self.reset();
        }
        taken
    }

    /// Whether bytes of the host are wanted.
    fn reads(&self) -> bool {
        let over = self.host_done & done::SEND != 0 || self.guest_done & done::RECEIVE != 0;
        !over && self.credit.left() > 0
    }

    /// The guest has agreed; the host's client is told the port that it was given.
    fn establish(&mut self) {
        let line = format!("OK {}\n", self.key.host_port);
        // Nothing has been written to this socket before, so there is room for a line, or nobody is there.
        match send(&self.socket, line.as_bytes(), SendFlags::NOSIGNAL) {
            Ok(len) if len == line.len() => self.state = State::Established,
            _ => self.reset(),
        }
    }

    fn take_data(&mut self, payload: &[u8]) -> Result<(), Violation> {
        if self.guest_done & done::SEND != 0 {
            return Err(Violation::Operation);
        }
        if !self.to_host.take(payload) {
            return Err(Violation::Credit);
        }
        self.settle();
        Ok(())
    }

    /// Writes what the host takes, and does what waits for that.
    fn settle(&mut self) {
        self.to_host.flush(&self.socket);
        self.owes_credit |= self.to_host.has_news();
        if self.to_host.is_gone() {
            // What it has written is still for the guest.
            self.host_done |= done::RECEIVE;
        }
        if !self.to_host.is_empty() {
            return;
        }
        if self.guest_done & done::SEND != 0 {
            self.to_host.shut(&self.socket);
        }
        if self.guest_done == done::BOTH {
            self.reset();
        }
    }
}

/// How a guest broke the rules of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// It sent more than it was granted.
    Credit,
    /// The packet has no place in the connection's state.
    Operation,
}

/// Whether the other end has gone.
fn hung_up(socket: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    matches!(poll(&mut fds, Some(&now)), Ok(1)) && fds[0].revents().contains(PollFlags::HUP)
}
