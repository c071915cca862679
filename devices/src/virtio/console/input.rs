//! Input on its way to the guest: a bounded ring between the host's console and the worker.
//!
//! ```text
//!   offer:  push … full ─▶ starved ─▶ fence ─▶ push once more ─▶ refuse
//!   take:   pop … ─▶ fence ─▶ starved? ─▶ tell the host's console that there is room
//! ```
//!
//! Invariant: no wake-up is lost. Of two that meet, one sees the other: either the offer finds the room that
//! the worker made, or the worker finds the mark. A mark that was not needed costs one superfluous call.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::console::ConsoleOutput;
use crate::event::Event;
use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// Bytes that wait for the guest at most.
pub(super) const INPUT_LIMIT: usize = 4096;
/// Bytes that are saved at most: what waits, and what waited at an earlier save and still does.
pub(super) const SAVED_LIMIT: usize = 2 * INPUT_LIMIT;

pub(super) struct Input {
    bytes: ArrayQueue<u8>,
    /// What has been saved or restored; it goes first.
    kept: SegQueue<u8>,
    /// Notified when bytes have come.
    arrived: Event,
    /// Bytes were refused.
    starved: AtomicBool,
    output: Arc<dyn ConsoleOutput>,
}

impl Input {
    pub(super) fn new(output: Arc<dyn ConsoleOutput>) -> std::io::Result<Self> {
        Ok(Self {
            bytes: ArrayQueue::new(INPUT_LIMIT),
            kept: SegQueue::new(),
            arrived: Event::new()?,
            starved: AtomicBool::new(false),
            output,
        })
    }

    /// Takes as many of the first bytes as there is room for.
    pub(super) fn offer(&self, bytes: &[u8]) -> usize {
        let taken = bytes.iter().position(|byte| !self.push(*byte)).unwrap_or(bytes.len());
        if taken > 0 {
            self.arrived.notify();
        }
        taken
    }

    fn push(&self, byte: u8) -> bool {
        if self.bytes.push(byte).is_ok() {
            return true;
        }
        self.starved.store(true, Ordering::Relaxed);
        // Pairs with the fence in `take`.
        fence(Ordering::SeqCst);
        self.bytes.push(byte).is_ok()
    }

    /// Whether there is nothing for the guest.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.bytes.is_empty()
    }

    /// Takes as many bytes as there are, and fit; how many.
    pub(super) fn take(&self, into: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < into.len()
            && let Some(byte) = self.kept.pop().or_else(|| self.bytes.pop())
        {
            into[taken] = byte;
            taken += 1;
        }
        // Pairs with the fence in `push`.
        fence(Ordering::SeqCst);
        // Relaxed: the exchange decides who calls, the fence orders.
        if taken > 0
            && self.starved.load(Ordering::Relaxed)
            && self.starved.swap(false, Ordering::Relaxed)
        {
            self.output.input_has_room();
        }
        taken
    }

    /// The bytes that wait, while no worker takes any; at most [`SAVED_LIMIT`]. What the host's console offers meanwhile comes after them.
    pub(super) fn save(&self) -> Vec<u8> {
        let mut all: Vec<u8> = std::iter::from_fn(|| self.kept.pop()).collect();
        let room = SAVED_LIMIT.saturating_sub(all.len());
        // A host that waits for room is told when the guest has taken something, as ever.
        all.extend(std::iter::from_fn(|| self.bytes.pop()).take(room));
        self.restore(&all);
        all
    }

    /// Puts bytes before all others, while no worker takes any.
    pub(super) fn restore(&self, bytes: &[u8]) {
        let before: Vec<u8> = std::iter::from_fn(|| self.kept.pop()).collect();
        bytes.iter().chain(&before).for_each(|byte| self.kept.push(*byte));
    }

    /// Wakes the worker, which looks at everything.
    pub(super) fn wake_worker(&self) {
        self.arrived.notify();
    }

    /// Forgets the notifications until now.
    pub(super) fn clear(&self) {
        self.arrived.clear();
    }
}

impl AsFd for Input {
    /// Readable when bytes have come since the last [`Input::clear`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }
}
