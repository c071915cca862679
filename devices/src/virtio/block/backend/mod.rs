//! What moves a disk's data: operations go in, completions come out, in any order.
//!
//! ```text
//!   submit(token, operation, transfer) ─▶ in flight ─▶ next() ─▶ token, result, transfer
//!                      flush: begins a batch ┘             ▲
//!                      fd: readable when there may be one ─┘   wait: sleeps until there is one
//! ```
//!
//! Invariant: a transfer that is in flight belongs to the backend, also when that is dropped: nothing that the
//! kernel may still write to is freed.

mod blocking;
mod service;
mod uring;

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

pub(super) use blocking::Blocking;
pub(super) use service::{Image, Service};
pub(super) use uring::{Uring, is_available};

use super::reach::Via;
use super::transfer::Transfer;

/// What is done to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read into the transfer.
    Read,
    /// Write the transfer.
    Write,
    /// Make safe what was written.
    Sync,
    /// Give up the range's blocks; it reads as zeros.
    Deallocate,
    /// Let the range read as zeros without giving up its blocks.
    Zero,
}

/// An operation on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub action: Action,
    pub offset: u64,
    pub len: u64,
    pub via: Via,
}

/// An operation that has ended.
pub(super) struct Completion {
    /// What it was submitted with.
    pub token: u16,
    /// The number of bytes moved (which may be fewer than were asked for), or what the host says.
    pub result: Result<u32, Errno>,
    pub transfer: Box<Transfer>,
}

/// Carries operations out.
pub(super) trait Backend: Send {
    /// Takes an operation, to begin at the next [`flush`](Self::flush) at the latest. Tokens of operations in flight are
    /// distinct, and at most as many as the backend was made for.
    fn submit(&mut self, token: u16, operation: &Operation, transfer: Box<Transfer>);

    /// Begins what was submitted; false if not everything could be now: try again.
    ///
    /// # Errors
    /// The host refuses to go on.
    fn flush(&mut self) -> io::Result<bool>;

    /// Something that has ended.
    fn next(&mut self) -> Option<Completion>;

    /// Operations that were submitted and have not been given back.
    fn in_flight(&self) -> usize;

    /// Readable when something may have ended. None if everything ends while it is being submitted.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Makes the descriptor unreadable until something else ends. To be called before [`next`](Self::next).
    fn acknowledge(&mut self);

    /// Sleeps until something has ended, if anything is in flight.
    ///
    /// # Errors
    /// The host refuses to go on.
    fn wait(&mut self) -> io::Result<()>;
}
