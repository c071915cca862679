//! What a device's thread does, and what governs it.
//!
//! ```text
//!   start ─▶ (Doorbell of every queue) ─▶ sleep ─▶ Doorbell / Ready ─▶ handle ─▶ sleep …
//!                    ▲                      │ pause
//!                    └──── resume ── parked ◀── drain
//! ```
//!
//! A worker is a member of a lifecycle group, as a vCPU is: sleeping in the poll is its "guest", and the group's kick is
//! an event that the poll listens to. What runs that protocol is [`super::run_loop`]; a device type writes
//! a [`Worker`] only.
//!
//! Invariants: between `drain` and the end of the pause nothing of the worker touches guest memory or the host's
//! side of the device; after a resume every queue is looked at as if its doorbell had rung.

use std::os::fd::BorrowedFd;

use super::malformed::Malformed;
use super::sources::{Interest, Sources};

/// Names a file descriptor that a worker listens to, chosen by the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// Why a worker is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// Buffers may be available in the queue with this index; also at the start and after each pause.
    Doorbell(u16),
    /// A file descriptor of the worker's own is ready.
    Ready(Token),
    /// The worker said [`Progress::More`] last time.
    Again,
}

/// What a call left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing: sleep until something happens.
    Idle,
    /// More, which is not waited for: call again soon, after looking for requests to stop.
    More,
}

/// A worker cannot go on. The device asks to be reset.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The driver's fault.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The host's.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A device type's work, on a thread of its own. No call may take long but `drain`: work in pieces, and
/// say [`Progress::More`].
///
/// A [`Wakeup`] may be spurious: what it tells of may have been dealt with in an earlier call. After an error `drain` is
/// called once more, its result ignored; after a panic nothing is. Then the worker is dropped: its drop must leave nothing
/// in flight that touches guest memory.
pub trait Worker: Send {
    /// A word for the thread's name: `rx`, `q0`.
    fn label(&self) -> String;

    /// Called once on the worker's thread before all else: here it registers what it listens to besides doorbells.
    ///
    /// # Errors
    /// The host refuses something.
    fn start(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        let _ = listening;
        Ok(())
    }

    /// The queues whose doorbells wake it.
    fn queues(&mut self) -> Vec<&mut super::Virtqueue>;

    /// Does what there is to do.
    ///
    /// # Errors
    /// The worker cannot go on.
    fn handle(
        &mut self,
        wakeup: Wakeup,
        listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError>;

    /// Waits until nothing is in flight, gives every finished request back and flushes. No new request is begun.
    ///
    /// # Errors
    /// The worker cannot go on.
    fn drain(&mut self) -> Result<(), WorkerError>;
}

/// What a worker listens to, for changing it.
pub struct Listening<'a> {
    pub(super) sources: &'a mut Sources,
}

impl Listening<'_> {
    /// Listens to a file descriptor from now on, level-triggered.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> std::io::Result<()> {
        self.sources.add(fd, token, interest)
    }

    /// Changes what is listened for.
    ///
    /// # Errors
    /// It is not listened to.
    pub fn modify(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> std::io::Result<()> {
        self.sources.modify(fd, token, interest)
    }

    /// Listens to it no more. To be called before it is closed.
    ///
    /// # Errors
    /// It is not listened to.
    pub fn remove(&mut self, fd: BorrowedFd<'_>) -> std::io::Result<()> {
        self.sources.remove(fd)
    }
}
