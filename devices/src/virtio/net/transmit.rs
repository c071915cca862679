//! Packets of the guest: from the transmit queue to the tap.
//!
//! ```text
//!            packets came                  the ring is empty
//!   Waiting ─────────────▶ Working ───────────────────────────▶ Waiting
//!                          ▲    │ the tap is full
//!             it has room  │    ▼
//!                          Blocked
//!
//!   Working ── the limit is reached ──▶ Throttled ── timer ──▶ Working
//! ```
//!
//! What has been sent is given back several at a time: one store of the used index for each would have the driver, if it looks for
//! that, and this thread take a cache line from each other for each.
//!
//! Invariant: a packet that the tap has no room for, or that the limit holds up, stays in the ring; nothing is held
//! between two calls, sent or not.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::counters::add;
use super::limit::Limit;
use super::receive::{BATCH, HEADER};
use super::shared::Shared;
use super::vectors::Vectors;
use crate::virtio::{Chain, Malformed, Used, Virtqueue, WorkerError};

/// Packets that are given back at once, at most.
const TOGETHER: usize = 32;

/// What the transmitting half waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transmitting {
    /// Nothing: there is or may be work.
    Working,
    /// A packet.
    Waiting,
    /// Room in the tap.
    Blocked,
    /// Its limit.
    Throttled,
}

/// Where packets go.
pub(super) struct Wire<'a> {
    /// The tap's queue of this pair.
    pub(super) own: BorrowedFd<'a>,
    /// The queue that is never off.
    pub(super) first: BorrowedFd<'a>,
}

/// What became of a packet.
enum Fate {
    Sent(usize),
    Dropped,
    NoRoom,
    /// Dropped, since there is no tap any more.
    Gone,
}

/// The transmitting half of a queue pair.
pub(super) struct Transmitter {
    pub(super) queue: Virtqueue,
    pub(super) limit: Limit,
    chain: Chain,
    vectors: Vectors,
    /// The next packet has been paid for, and could not be sent yet.
    paid: bool,
    /// Sent, and not given back yet.
    done: Vec<Used>,
}

impl Transmitter {
    pub(super) fn new(queue: Virtqueue, limit: Limit) -> Self {
        let vectors = Vectors::of(queue.memory());
        let done = Vec::with_capacity(TOGETHER);
        Self { queue, limit, chain: Chain::new(), vectors, paid: false, done }
    }

    /// Sends packets as long as there are packets and room, but no more than a batch; and whether the tap has gone.
    pub(super) fn work(
        &mut self,
        wire: &Wire<'_>,
        shared: &Shared,
    ) -> Result<(Transmitting, bool), WorkerError> {
        let worked = self.send_batch(wire, shared);
        // Whatever has ended it, these are sent.
        self.give_back()?;
        self.queue.flush()?;
        worked
    }

    fn give_back(&mut self) -> Result<(), Malformed> {
        self.queue.push_together(&self.done)?;
        self.done.clear();
        Ok(())
    }

    fn send_batch(
        &mut self,
        wire: &Wire<'_>,
        shared: &Shared,
    ) -> Result<(Transmitting, bool), WorkerError> {
        let mut state = Transmitting::Working;
        let mut gone = false;
        let counters = &shared.counters;
        for _ in 0..BATCH {
            if !self.queue.pop(&mut self.chain)? {
                // The driver may wait for these to offer more.
                self.give_back()?;
                if self.queue.enable_notifications()? {
                    self.queue.disable_notifications()?;
                    continue;
                }
                state = Transmitting::Waiting;
                break;
            }
            if self.chain.readable_len() < HEADER {
                return Err(Malformed::Shape("a header at least").into());
            }
            let bytes = self.chain.readable_len() - HEADER;
            if !self.paid && !self.limit.pay(bytes, &counters.sent)? {
                self.queue.unpop();
                state = Transmitting::Throttled;
                break;
            }
            self.paid = false;
            match self.send(wire, shared)? {
                Fate::Sent(len) => counters.sent.packet(len.saturating_sub(HEADER as usize)),
                Fate::NoRoom => {
                    self.queue.unpop();
                    self.paid = true;
                    state = Transmitting::Blocked;
                    break;
                }
                fate @ (Fate::Dropped | Fate::Gone) => {
                    gone |= matches!(fate, Fate::Gone);
                    counters.sent.drop_one();
                }
            }
            self.done.push(Used { head: self.chain.head(), written: 0 });
            if self.done.len() == TOGETHER {
                self.give_back()?;
            }
        }
        Ok((state, gone))
    }

    /// Begins to look for packets without being told of new ones.
    pub(super) fn wake(&mut self) -> Result<(), WorkerError> {
        Ok(self.queue.disable_notifications()?)
    }

    fn send(&mut self, wire: &Wire<'_>, shared: &Shared) -> Result<Fate, WorkerError> {
        self.vectors.clear();
        if !self.vectors.add_readable(&self.chain)? {
            return Err(Malformed::Shape("a packet in at most 1024 buffers").into());
        }
        let mut sent = self.try_send(wire.own);
        if sent == Err(Errno::BADFD) {
            // The pair is off. What the driver gave it before it knew goes the other way.
            sent = self.try_send(wire.first);
        }
        Ok(match sent {
            Ok(len) => Fate::Sent(len),
            Err(Errno::AGAIN) => Fate::NoRoom,
            Err(Errno::BADFD) => Fate::Gone,
            // The kernel takes no packet with such a header, or no packet at all now: the interface is down.
            Err(Errno::INVAL | Errno::IO) => Fate::Dropped,
            Err(_) => {
                add(&shared.counters.errors, 1);
                Fate::Dropped
            }
        })
    }

    fn try_send(&self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        loop {
            let sent = self.vectors.send(fd);
            // A descriptor that does not block is hardly ever interrupted, and not twice without a signal.
            if sent != Err(Errno::INTR) {
                return sent;
            }
        }
    }
}
