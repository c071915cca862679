//! Packets for the guest: from the tap into the receive queue.
//!
//! ```text
//!            buffers came                    the tap is empty
//!   Starved ─────────────▶ Working ────────────────────────────▶ Waiting
//!      ▲                   │  ▲  │                                  │
//!      └── ring is empty ──┘  │  └── EBADFD ──▶ Off ── on again ─┐  │
//!                             └─────────────────────────────────┴◀─┘ a packet came
//!
//!   Working ── the limit is reached ──▶ Throttled ── timer ──▶ Working
//! ```
//!
//! With VIRTIO_NET_F_MRG_RXBUF a packet may fill several buffers (virtio 1.2, 5.1.6.4). How long it is, the tap says only
//! by giving it; so buffers for the largest are at hand, as far as the ring has them. One that is longer than
//! those waits in this worker until the driver has given more, if it ever had given as many.
//!
//! Invariant: a packet is taken off the tap only when there is a buffer for it. When the call ends it is in the ring,
//! is the one that waits for more buffers (also over a pause), or has been dropped and counted.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::buffers::{Buffers, Gathered};
use super::counters::{Flow, add};
use super::features::{GUEST_CSUM, MRG_RXBUF, taken};
use super::limit::Limit;
use super::shared::Shared;
use crate::virtio::{Features, Virtqueue, WorkerError};

/// Packets that a call takes at most.
pub(super) const BATCH: usize = 64;
/// Bytes of `struct virtio_net_hdr_v1`, and where its flags and its number of buffers are.
pub(super) const HEADER: u32 = 12;
const FLAGS: u32 = 0;
const NUM_BUFFERS: u32 = 10;
/// Headers of Ethernet with a VLAN's, and the largest packet behind them that there is: one to be cut up.
const ETHERNET: u32 = 18;
const LARGEST: u32 = 65535;
/// Room for a packet that does not fit into the guest's buffers, whole: more than the largest.
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
    /// Its limit.
    Throttled,
    /// Its queue of the tap being attached (again).
    Off,
}

/// The receiving half of a queue pair.
pub(super) struct Receiver {
    pub(super) queue: Virtqueue,
    buffers: Buffers,
    /// Bytes that are to be at hand before a packet is taken.
    wanted: u32,
    /// The most that ever were.
    most: u32,
    spare: Box<[u8]>,
    /// The length of a packet in `spare` that waits for buffers.
    waiting: Option<u32>,
    pub(super) limit: Limit,
    packing: Packing,
    /// Packets' checksums may be left to the guest.
    checksums: bool,
}

/// How packets lie in buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    /// Each in one.
    One,
    /// Each in as many as it fills.
    Merged,
}

impl Receiver {
    /// Of a driver with these features, to which packets come that have `mtu` bytes behind their Ethernet header, or are
    /// as large as can be.
    pub(super) fn new(queue: Virtqueue, limit: Limit, features: Features, mtu: u16) -> Self {
        let checksums = features.has(GUEST_CSUM);
        let longest = if taken(features).large() { LARGEST } else { mtu.into() };
        let (packing, wanted) = if features.has(MRG_RXBUF) {
            (Packing::Merged, HEADER + ETHERNET + longest)
        } else {
            (Packing::One, 1)
        };
        let buffers = Buffers::new(queue.memory());
        let spare = vec![0; SPARE].into_boxed_slice();
        Self { queue, buffers, wanted, most: 0, spare, waiting: None, limit, packing, checksums }
    }

    /// Takes packets as long as there are packets and buffers, but no more than a batch.
    pub(super) fn work(
        &mut self,
        fd: BorrowedFd<'_>,
        shared: &Shared,
    ) -> Result<Receiving, WorkerError> {
        let worked = self.take_batch(fd, shared);
        // Whatever has ended it, these have come.
        self.buffers.give(&mut self.queue)?;
        self.queue.flush()?;
        worked
    }

    fn take_batch(
        &mut self,
        fd: BorrowedFd<'_>,
        shared: &Shared,
    ) -> Result<Receiving, WorkerError> {
        let counts = &shared.counters.received;
        let mut state = Receiving::Working;
        let mut failed = 0;
        for _ in 0..BATCH {
            if !self.limit.look(counts)? {
                state = Receiving::Throttled;
                break;
            }
            if !self.hold(counts)? {
                state = Receiving::Starved;
                break;
            }
            if let Some(len) = self.waiting.take() {
                self.buffers.write(self.queue.memory(), 0, &self.spare[..len as usize])?;
                self.deliver(len, counts)?;
                continue;
            }
            let behind = self.behind();
            match self.buffers.receive(fd, &mut self.spare[behind..]) {
                Ok(len) => self.arrived(len, counts)?,
                Err(Errno::AGAIN) => {
                    state = Receiving::Waiting;
                    break;
                }
                Err(Errno::INTR) => {}
                Err(Errno::BADFD) => {
                    state = Receiving::Off;
                    break;
                }
                Err(_) => {
                    add(&shared.counters.errors, 1);
                    failed += 1;
                }
            }
        }
        // Whatever it is, it does not pass.
        Ok(if failed == BATCH { Receiving::Off } else { state })
    }

    /// Begins to look for buffers without being told of new ones.
    pub(super) fn wake(&mut self) -> Result<(), WorkerError> {
        Ok(self.queue.disable_notifications()?)
    }

    /// Puts the buffers that no packet is in back into the ring.
    pub(super) fn release(&mut self) {
        self.buffers.release(&mut self.queue);
    }

    /// Holds what the next packet needs: all of the room for one that waits, otherwise a buffer at least, and as much
    /// as the largest can need if there is. False if the ring lacks it, and the driver will ring when it has more.
    fn hold(&mut self, counts: &Flow) -> Result<bool, WorkerError> {
        loop {
            let least = self.waiting.unwrap_or(1);
            let gathered = self.gather(self.wanted.max(least))?;
            if self.buffers.room() >= least {
                return Ok(true);
            }
            if gathered == Gathered::Full {
                // It is too long for all that can be held; the buffers are for the next one.
                self.waiting = None;
                counts.drop_one();
                continue;
            }
            // The driver may wait for these to give more.
            self.buffers.give(&mut self.queue)?;
            if !self.queue.enable_notifications()? {
                return Ok(false);
            }
            // Some came just now.
            self.queue.disable_notifications()?;
        }
    }

    fn gather(&mut self, wanted: u32) -> Result<Gathered, WorkerError> {
        let gathered = self.buffers.gather(&mut self.queue, wanted)?;
        self.most = self.most.max(self.buffers.room());
        Ok(gathered)
    }

    /// Where in `spare` that begins for which the buffers have no room: where it can be put together with what they have.
    fn behind(&self) -> usize {
        let room = self.buffers.room() as usize;
        // No packet is longer than that.
        if room < SPARE / 2 { room } else { 0 }
    }

    /// Whether a packet that did not fit can be put together in `spare`, and given to more buffers.
    fn may_wait(&self) -> bool {
        self.packing == Packing::Merged && self.behind() > 0
    }

    /// A packet with its header has been read.
    fn arrived(&mut self, len: usize, counts: &Flow) -> Result<(), WorkerError> {
        let room = self.buffers.room();
        match u32::try_from(len) {
            Ok(len) if len > HEADER && len <= room => self.deliver(len, counts),
            Ok(len) if len > room && self.may_wait() => {
                let begun = &mut self.spare[..room as usize];
                self.buffers.read_back(self.queue.memory(), begun)?;
                // Now that its length is known.
                self.gather(len)?;
                if self.most >= len {
                    self.waiting = Some(len);
                } else {
                    counts.drop_one();
                }
                Ok(())
            }
            // The buffers are for the next packet.
            _ => {
                counts.drop_one();
                Ok(())
            }
        }
    }

    fn deliver(&mut self, len: u32, counts: &Flow) -> Result<(), WorkerError> {
        let memory = self.queue.memory();
        if !self.checksums {
            // Not even that one was checked may be said (virtio 1.2, 5.1.6.4.1).
            self.buffers.write(memory, FLAGS, &[0])?;
        }
        let buffers = self.buffers.count(len);
        self.buffers.write(memory, NUM_BUFFERS, &buffers.to_le_bytes())?;
        self.buffers.use_up(&mut self.queue, len)?;
        self.limit.charge(len - HEADER);
        counts.packet((len - HEADER) as usize);
        Ok(())
    }
}
