//! Buffers that the driver has given and no packet is in yet.
//!
//! ```text
//!   ring ── gather ──▶ held: [ chain │ chain │ … ] ── receive, use_up ──▶ used ring, all of a packet's at once
//!    ▲                                   │
//!    └───────────── release ─────────────┘
//! ```
//!
//! What is left over from one packet is for the next, so a packet costs as many chains as it fills, however many had
//! to be at hand because nobody could say how long it would be.
//!
//! Invariants: the vectors are those of the chains, in the same order, and no more than one system call takes; once the
//! chains have as many buffers as the ring has descriptors, no other is taken; each chain has room for a header.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use vm_memory::Bytes;

use super::receive::HEADER;
use super::vectors::Vectors;
use crate::memory::GuestMemory;
use crate::virtio::{Chain, Malformed, Used, Virtqueue};

/// Filled buffers are given at once when there are so many, or nothing more is to come.
const TOGETHER: usize = 32;

/// How far buffers were gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// As far as was wanted.
    Enough,
    /// The ring has no more.
    Empty,
    /// No more can be held, or the driver has no descriptor left to give more by.
    Full,
}

struct Held {
    chain: Chain,
    vectors: usize,
}

/// The buffers at hand.
pub(super) struct Buffers {
    held: VecDeque<Held>,
    /// Chains for the next ones.
    free: Vec<Chain>,
    vectors: Vectors,
    room: u32,
    /// Descriptors of the chains, as if none were indirect.
    descriptors: usize,
    /// Filled, and not given yet.
    used: Vec<Used>,
}

impl Buffers {
    /// None, of a queue in this RAM.
    pub(super) fn new(memory: &GuestMemory) -> Self {
        Self {
            held: VecDeque::new(),
            free: Vec::new(),
            vectors: Vectors::of(memory),
            room: 0,
            descriptors: 0,
            used: Vec::new(),
        }
    }

    /// Bytes that fit into them.
    pub(super) fn room(&self) -> u32 {
        self.room
    }

    /// Takes buffers off the ring until there is so much room.
    pub(super) fn gather(
        &mut self,
        queue: &mut Virtqueue,
        wanted: u32,
    ) -> Result<Gathered, Malformed> {
        while self.room < wanted {
            if self.descriptors >= usize::from(queue.size()) {
                return Ok(Gathered::Full);
            }
            let mut chain = self.free.pop().unwrap_or_default();
            if !queue.pop(&mut chain)? {
                self.free.push(chain);
                return Ok(Gathered::Empty);
            }
            if chain.writable_len() < HEADER {
                return Err(Malformed::Shape("room for a header at least"));
            }
            let before = self.vectors.len();
            if !self.vectors.add_writable(&chain)? {
                if self.held.is_empty() {
                    return Err(Malformed::Shape("a packet in fewer than 1024 buffers"));
                }
                queue.unpop();
                self.free.push(chain);
                return Ok(Gathered::Full);
            }
            self.room = self.room.saturating_add(chain.writable_len());
            self.descriptors += descriptors(&chain);
            self.held.push_back(Held { chain, vectors: self.vectors.len() - before });
        }
        Ok(Gathered::Enough)
    }

    /// Puts all of them back into the ring.
    pub(super) fn release(&mut self, queue: &mut Virtqueue) {
        for held in self.held.drain(..) {
            queue.unpop();
            self.free.push(held.chain);
        }
        self.vectors.clear();
        (self.room, self.descriptors) = (0, 0);
    }

    /// Reads a packet into them, and what does not fit into `spare`; its length.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>, spare: &mut [u8]) -> Result<usize, Errno> {
        self.vectors.receive(fd, spare)
    }

    /// Copies into them what a packet begins with, from `skip` bytes into the first one.
    pub(super) fn write(
        &self,
        memory: &GuestMemory,
        skip: u32,
        mut data: &[u8],
    ) -> Result<(), Malformed> {
        let mut skip = skip;
        for held in &self.held {
            let done = held.chain.write(memory, skip, data)?;
            (skip, data) = (0, &data[done..]);
            if data.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Copies out of them what a packet begins with, as far as they hold it.
    pub(super) fn read_back(&self, memory: &GuestMemory, data: &mut [u8]) -> Result<(), Malformed> {
        let mut rest = data;
        let segments = self.held.iter().flat_map(|held| held.chain.writable());
        for segment in segments.filter(|segment| segment.len > 0) {
            let len = rest.len().min(segment.len as usize);
            let (part, behind) = rest.split_at_mut(len);
            memory.read_slice(part, segment.gpa).map_err(|_| Malformed::Buffer)?;
            rest = behind;
        }
        Ok(())
    }

    /// How many of them a packet of this length fills.
    pub(super) fn count(&self, len: u32) -> u16 {
        let mut room = 0_u32;
        let filled = self.held.iter().take_while(|held| {
            let before = room;
            room = room.saturating_add(held.chain.writable_len());
            before < len
        });
        // No more than the ring has descriptors.
        u16::try_from(filled.count()).unwrap_or(u16::MAX)
    }

    /// Takes those for the driver that a packet of this length fills. It gets them with others', all of a packet's at once.
    pub(super) fn use_up(&mut self, queue: &mut Virtqueue, len: u32) -> Result<(), Malformed> {
        let (mut left, mut vectors) = (len, 0);
        while left > 0
            && let Some(held) = self.held.pop_front()
        {
            let room = held.chain.writable_len();
            let written = left.min(room);
            left -= written;
            vectors += held.vectors;
            self.descriptors -= descriptors(&held.chain);
            self.used.push(Used { head: held.chain.head(), written });
            // Where the sum was too large for its type it is too small for a moment; then more is gathered.
            self.room = self.room.saturating_sub(room);
            self.free.push(held.chain);
        }
        self.vectors.drop_front(vectors);
        if self.used.len() >= TOGETHER { self.give(queue) } else { Ok(()) }
    }

    /// Gives the driver what is filled.
    pub(super) fn give(&mut self, queue: &mut Virtqueue) -> Result<(), Malformed> {
        queue.push_together(&self.used)?;
        self.used.clear();
        Ok(())
    }
}

fn descriptors(chain: &Chain) -> usize {
    chain.readable().len() + chain.writable().len()
}
