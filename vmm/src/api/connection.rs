//! One connection: request after request until the client, an error or the server ends it.
//!
//! ```text
//!   Idle ──bytes──▶ Partial ──complete──▶ dispatch ──▶ answer ──▶ Idle
//!    │ stop, EOF,       │ stop, EOF: close                 └ close asked for ──▶ closed
//!    └ IDLE passes      └ PARTIAL passes: 408
//! ```
//!
//! The first piece of a request is only looked at (MSG_PEEK) and taken from the socket when the request has been
//! answered. Taking it makes room for the client to write, and the kernel tells it so: a client that sleeps in a
//! read wakes, on a processor that the vCPUs need in that moment, and a wake-up is the dearest thing on
//! the way of a pause.
//!
//! Invariant: nothing that was looked at lies in the socket when more is read, or when the connection ends: a socket
//! that is closed over unread bytes is reset, and its client would not see the answer.
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::MAX_BODY;
use super::chunked::{self, Decoder};
use super::delivery;
use super::head::{self, BodyLength, Head};
use super::response::{After, Response, Status};
use super::routes;
use crate::control::VmmControl;

/// How long a connection may say nothing before it makes room for another.
const IDLE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// How long the rest of a request may take to come, each piece.
const PARTIAL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// The most bytes that are read at once.
const PIECE: usize = 8192;
/// How long a client may take to make room for an answer.
const WRITE: Duration = Duration::from_secs(10);

/// Why there is no further request.
enum End {
    /// The client or the server ended the connection.
    Closed,
    /// What came is no request; this is the answer.
    Refused(Response),
}

/// Whether a request has begun.
#[derive(Clone, Copy)]
enum Limit {
    Idle,
    Partial,
}

/// A connection with what was read from it and not yet used.
pub(super) struct Connection<'a> {
    stream: UnixStream,
    /// Becomes readable, for good, when the server stops.
    stop: BorrowedFd<'a>,
    unread: Vec<u8>,
    /// How many bytes were looked at and still lie in the socket.
    looked_at: usize,
}

impl<'a> Connection<'a> {
    /// A connection that was just accepted.
    pub fn new(stream: UnixStream, stop: BorrowedFd<'a>) -> Self {
        Self { stream, stop, unread: Vec::new(), looked_at: 0 }
    }

    /// Serves until the connection ends.
    pub fn serve(mut self, control: &dyn VmmControl) {
        // So that a client that does not read cannot keep the server from stopping.
        if self.stream.set_write_timeout(Some(WRITE)).is_err() {
            return;
        }
        loop {
            match self.next_request() {
                Ok((head, body)) => {
                    let response = answer(control, &head, &body);
                    let written = self.write(&response.encode(head.after));
                    if response.wake.is_somebody() {
                        delivery::await_read(&self.stream);
                        drop(response.wake);
                    }
                    let taken = self.take_looked_at();
                    if taken.is_err() || written.is_err() || head.after == After::Close {
                        return;
                    }
                }
                Err(End::Refused(response)) => {
                    let _ = self.write(&response.encode(After::Close));
                    self.drain();
                    return;
                }
                Err(End::Closed) => return,
            }
        }
    }

    fn next_request(&mut self) -> Result<(Head, Vec<u8>), End> {
        let (head, length) = loop {
            if let Some(found) = head::parse(&self.unread).map_err(End::Refused)? {
                break found;
            }
            let limit = if self.unread.is_empty() { Limit::Idle } else { Limit::Partial };
            self.read_more(limit)?;
        };
        self.unread.drain(..length);
        let body = match head.body {
            BodyLength::Known(0) => Vec::new(),
            BodyLength::Known(length) if length > MAX_BODY => {
                return Err(End::Refused(chunked::too_large()));
            }
            BodyLength::Known(length) => {
                self.invite(&head, self.unread.len() < length)?;
                while self.unread.len() < length {
                    self.read_more(Limit::Partial)?;
                }
                self.unread.drain(..length).collect()
            }
            BodyLength::Chunked => {
                self.invite(&head, self.unread.is_empty())?;
                let mut decoder = Decoder::default();
                loop {
                    if let Some(body) = decoder.feed(&mut self.unread).map_err(End::Refused)? {
                        break body;
                    }
                    self.read_more(Limit::Partial)?;
                }
            }
        };
        Ok((head, body))
    }

    /// Tells a client that waits for it to send the body (RFC 9110, section 10.1.1).
    fn invite(&mut self, head: &Head, body_is_missing: bool) -> Result<(), End> {
        if head.expects_continue && body_is_missing {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    fn read_more(&mut self, limit: Limit) -> Result<(), End> {
        self.take_looked_at()?;
        match limit {
            Limit::Idle if !self.wait_readable(IDLE)? => return Err(End::Closed),
            Limit::Partial if !self.wait_readable(PARTIAL)? => {
                let message = "the rest of the request did not come in time";
                return Err(End::Refused(Response::message(Status::RequestTimeout, message)));
            }
            _ => {}
        }
        let mut piece = [0; PIECE];
        let flags = match limit {
            Limit::Idle => RecvFlags::PEEK,
            Limit::Partial => RecvFlags::empty(),
        };
        match recv(&self.stream, &mut piece[..], flags) {
            Ok((0, _)) | Err(_) => Err(End::Closed),
            Ok((length, _)) => {
                if flags.contains(RecvFlags::PEEK) {
                    self.looked_at = length;
                }
                self.unread.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
    }

    /// Takes from the socket what was looked at.
    fn take_looked_at(&mut self) -> Result<(), End> {
        let mut piece = [0; PIECE];
        while self.looked_at > 0 {
            // Does not block: the bytes are there.
            match self.stream.read(&mut piece[..self.looked_at.min(PIECE)]) {
                Ok(0) | Err(_) => return Err(End::Closed),
                Ok(length) => self.looked_at -= length,
            }
        }
        Ok(())
    }

    /// Whether there is something to read before `limit` has passed.
    fn wait_readable(&self, limit: Timespec) -> Result<bool, End> {
        let mut fds = [
            PollFd::new(&self.stream, PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop, PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, Some(&limit)) {
                Ok(0) => return Ok(false),
                Ok(_) if fds[1].revents().is_empty() => return Ok(true),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return Err(End::Closed),
            }
        }
    }

    /// Reads away what a refused client still sends, within limits: closing a socket with unread
    /// bytes resets it, and the client would not see the answer.
    fn drain(&mut self) {
        if rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write).is_err() {
            return;
        }
        let mut left = 2 * MAX_BODY;
        let mut piece = [0; PIECE];
        while left > 0 && matches!(self.wait_readable(PARTIAL), Ok(true)) {
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.stream.write_all(bytes).map_err(|_| End::Closed)
    }
}

fn answer(control: &dyn VmmControl, head: &Head, body: &[u8]) -> Response {
    // A panic in the control plane costs the request its answer, not the server a worker.
    let dispatch = || routes::dispatch(control, &head.method, &head.path, body);
    let response = catch_unwind(AssertUnwindSafe(dispatch)).unwrap_or_else(|_| {
        let message = "the request made the VMM panic; its log says where";
        Response::message(Status::InternalServerError, message)
    });
    tracing::debug!(method = head.method, path = head.path, status = ?response.status, "request");
    response
}
