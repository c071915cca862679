//! One connection: request after request until the client, an error or the server ends it.
//!
//! ```text
//!   Idle ──bytes──▶ Partial ──complete──▶ dispatch ──▶ answer ──▶ Idle
//!    │ stop, EOF,       │ stop, EOF: close                 └ close asked for ──▶ closed
//!    └ IDLE passes      └ PARTIAL passes: 408
//! ```
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

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
}

impl<'a> Connection<'a> {
    /// A connection that was just accepted.
    pub fn new(stream: UnixStream, stop: BorrowedFd<'a>) -> Self {
        Self { stream, stop, unread: Vec::new() }
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
                    if written.is_err() || head.after == After::Close {
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
        match limit {
            Limit::Idle if !self.wait_readable(IDLE)? => return Err(End::Closed),
            Limit::Partial if !self.wait_readable(PARTIAL)? => {
                let message = "the rest of the request did not come in time";
                return Err(End::Refused(Response::message(Status::RequestTimeout, message)));
            }
            _ => {}
        }
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => Err(End::Closed),
            Ok(length) => {
                self.unread.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
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
        let mut piece = [0; 8192];
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
