//! Packets for the guest: from the tap into the receive queue.
//!
//! ```text
//!            buffers came                    the tap is empty
//!   Starved ─────────────▶ Working ────────────────────────────▶ Waiting
//!      ▲                   │  ▲  │                                  │
//!      └── ring is empty ──┘  │  └── EBADFD ──▶ Off ── on again ─┐  │
//!                             └─────────────────────────────────┴◀─┘ a packet came
//! ```
//!
//! Invariant: a packet is taken off the tap only when there is a buffer for it, and is in the ring when the call ends.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::counters::{Flow, add};
use super::features::GUEST_CSUM;
use super::shared::Shared;
use super::vectors::{Failure, Vectors};
use crate::virtio::{Chain, Features, Malformed, Virtqueue, WorkerError};

/// Packets that a call takes at most.
pub(super) const BATCH: usize = 64;
/// Bytes of `struct virtio_net_hdr_v1`, and where its flags and its number of buffers are.
pub(super) const HEADER: u32 = 12;
const FLAGS: u32 = 0;
const NUM_BUFFERS: u32 = 10;
/// Room for what of a packet does not fit into the guest's buffer: the largest that there is.
const SPARE: usize = 1 << 17;

/// What the receiving half waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Nothing: there is or may be work.
    Working,
    /// A packet.
    Waiting,
    /// A buffer.
    Starved,
    /// Its queue of the tap being attached (again).
    Off,
}

/// The receiving half of a queue pair.
pub(super) struct Receiver {
    pub(super) queue: Virtqueue,
    chain: Chain,
    /// `chain` is a buffer that no packet is in yet.
    holding: bool,
    vectors: Vectors,
    /// Packets' checksums may be left to the guest.
    checksums: bool,
}

impl Receiver {
    pub(super) fn new(queue: Virtqueue, features: Features) -> Self {
        let checksums = features.has(GUEST_CSUM);
        let vectors = Vectors::new(SPARE);
        Self { queue, chain: Chain::new(), holding: false, vectors, checksums }
    }

    /// Takes packets as long as there are packets and buffers, but no more than a batch.
    pub(super) fn work(
        &mut self,
        fd: BorrowedFd<'_>,
        shared: &Shared,
    ) -> Result<Receiving, WorkerError> {
        let mut state = Receiving::Working;
        let mut failed = 0;
        for _ in 0..BATCH {
            if !self.hold()? {
                state = Receiving::Starved;
                break;
            }
            match self.vectors.receive(fd, self.queue.memory(), &self.chain) {
                Ok(len) => self.deliver(len, &shared.counters.received)?,
                Err(Failure::Host(Errno::AGAIN)) => {
                    state = Receiving::Waiting;
                    break;
                }
                Err(Failure::Host(Errno::INTR)) => {}
                Err(Failure::Host(Errno::BADFD)) => {
                    state = Receiving::Off;
                    break;
                }
                Err(Failure::Host(_)) => {
                    add(&shared.counters.errors, 1);
                    failed += 1;
                }
                Err(Failure::Chain(malformed)) => return Err(malformed.into()),
            }
        }
        self.queue.flush()?;
        // Whatever it is, it does not pass.
        Ok(if failed == BATCH { Receiving::Off } else { state })
    }

    /// Begins to look for buffers without being told of new ones.
    pub(super) fn wake(&mut self) -> Result<(), WorkerError> {
        Ok(self.queue.disable_notifications()?)
    }

    /// Puts the buffer that no packet is in back into the ring.
    pub(super) fn release(&mut self) {
        if std::mem::take(&mut self.holding) {
            self.queue.unpop();
        }
    }

    /// Holds a buffer; false if the ring has none, and the driver will ring when it has.
    fn hold(&mut self) -> Result<bool, WorkerError> {
        if self.holding {
            return Ok(true);
        }
        let mut found = self.queue.pop(&mut self.chain)?;
        if !found && self.queue.enable_notifications()? {
            // It came just now.
            self.queue.disable_notifications()?;
            found = self.queue.pop(&mut self.chain)?;
        }
        self.holding = found;
        if found && self.chain.writable_len() < HEADER {
            return Err(Malformed::Shape("room for a header at least").into());
        }
        Ok(found)
    }

    fn deliver(&mut self, len: usize, counts: &Flow) -> Result<(), WorkerError> {
        let header = HEADER as usize;
        let fits = u32::try_from(len).ok().filter(|len| *len <= self.chain.writable_len());
        let Some(written) = fits.filter(|_| len > header) else {
            // The buffer is for the next packet.
            counts.drop_one();
            return Ok(());
        };
        let memory = self.queue.memory();
        if !self.checksums {
            // Not even that one was checked may be said (virtio 1.2, 5.1.6.4.1).
            self.chain.write(memory, FLAGS, &[0])?;
        }
        self.chain.write(memory, NUM_BUFFERS, &1_u16.to_le_bytes())?;
        self.holding = false;
        self.queue.push(self.chain.head(), written)?;
        counts.packet(len - header);
        Ok(())
    }
}
