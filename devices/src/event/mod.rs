//! A counting event between threads, or between the kernel and a thread: an eventfd.
//!
//! Under a model checker the descriptor is never notified; what threads wait for is `event/model.rs`, which follows
//! the kernel.

#[cfg(any(loom, shuttle))]
mod model;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

#[cfg(any(loom, shuttle))]
pub(crate) use model::Poll;

/// An eventfd: readable from a [`notify`](Self::notify) until the next [`clear`](Self::clear).
#[derive(Debug)]
pub struct Event {
    fd: OwnedFd,
    #[cfg(any(loom, shuttle))]
    model: model::Model,
}

impl Event {
    /// One that has not been notified.
    ///
    /// # Errors
    /// The process or the host has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            #[cfg(any(loom, shuttle))]
            model: model::Model::default(),
        })
    }

    /// Makes it readable. Never blocks.
    #[cfg(not(any(loom, shuttle)))]
    pub fn notify(&self) {
        // It cannot fail but by a full count, and then it is readable already.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Forgets all notifications until now; whether there were any.
    #[cfg(not(any(loom, shuttle)))]
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
