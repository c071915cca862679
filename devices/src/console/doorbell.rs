//! How other threads wake the console's thread: an eventfd, written only when it is needed.
//!
//! The thread says that it is about to sleep, looks once more whether there is work, then polls.
//! A vCPU makes its work visible, then looks whether the thread sleeps. Between these two a
//! sequentially consistent fence stands on both sides, so at least one of them sees the other:
//! either the thread finds the work or the vCPU finds the sleeper.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::sync::atomic::{AtomicBool, Ordering, fence};

pub(super) struct Doorbell {
    /// Non-blocking. Its count would have to reach 2^64 before a write failed.
    event: OwnedFd,
    asleep: AtomicBool,
}

impl Doorbell {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { event, asleep: AtomicBool::new(false) })
    }

    /// Wakes the thread, whatever it does.
    pub(super) fn ring(&self) {
        // It cannot fail but by a full count, and then the bell rings already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Wakes the thread if it has gone to sleep for lack of output. The caller has just made
    /// output visible.
    pub(super) fn ring_if_asleep(&self) {
        // Pairs with the fence in `fall_asleep`.
        fence(Ordering::SeqCst);
        // Relaxed: the exchange decides who rings, the fence orders.
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.ring();
        }
    }

    /// The thread has found no output. It must look once more after this, before it polls.
    pub(super) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring_if_asleep`.
        fence(Ordering::SeqCst);
    }

    /// The thread is awake.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Forgets all rings until now; whether there were any.
    pub(super) fn silence(&self) -> bool {
        // Non-blocking; it fails when it was silent.
        rustix::io::read(&self.event, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Doorbell {
    /// Readable while it rings.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
