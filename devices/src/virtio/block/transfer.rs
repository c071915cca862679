//! The memory of one operation at a time: where in guest RAM its bytes are, or a buffer of our own in between.
//!
//! A transfer is handed to a backend and comes back with the completion, so what the kernel works with
//! has an owner all that time.
//!
//! Invariant: every vector points into guest RAM that `memory` keeps mapped, or into `bounce`, and is valid
//! for as long as the transfer exists.

use std::ops::Range;

use super::reach::{Reach, Via};
use crate::memory::{GuestMemory, GuestSlice, wrote};
use crate::virtio::{Chain, Malformed};

/// Vectors in one operation at most (`UIO_MAXIOV`); the rest of a request follows in another.
const MAX_VECTORS: usize = 1024;
/// Bytes that go through a buffer of our own in one operation at most; so a guest cannot make us hold more.
pub(super) const BOUNCE: u32 = 128 << 10;
/// What the buffer is aligned to: enough for any direct I/O.
const BOUNCE_ALIGN: usize = 4096;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the disk into the writable part of a chain.
    Read,
    /// From the readable part of a chain onto the disk.
    Write,
}

/// What was gathered for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gathered {
    /// Bytes: not always all that were asked for.
    pub len: u32,
    pub via: Via,
}

/// The memory of an operation.
pub(super) struct Transfer {
    memory: GuestMemory,
    vectors: Vec<libc::iovec>,
    /// Made when it is needed first.
    bounce: Vec<u8>,
    /// Bytes of `bounce` that are in use; none if the vectors point into guest RAM.
    bounced: usize,
    /// Which way the bytes go that were gathered, until they have landed.
    under_way: Option<Direction>,
}

#[expect(unsafe_code, reason = "pointers into mapped memory are not Send by themselves")]
// SAFETY: the pointers are into guest RAM, which any thread may access, and which `memory` keeps mapped; or into
// `bounce`, which moves together with them and whose heap block does not move.
unsafe impl Send for Transfer {}

impl Transfer {
    pub fn new(memory: GuestMemory) -> Self {
        Self { memory, vectors: Vec::new(), bounce: Vec::new(), bounced: 0, under_way: None }
    }

    /// Gathers the bytes `range` of a part of the chain, or as many of its first ones as one operation takes.
    pub fn gather(
        &mut self,
        chain: &Chain,
        direction: Direction,
        range: Range<u32>,
        offset: u64,
        reach: Reach,
    ) -> Result<Gathered, Malformed> {
        self.vectors.clear();
        self.bounced = 0;
        self.under_way = Some(direction);
        let wanted = range.end - range.start;
        let via = reach.via(offset, wanted);
        let (vectors, memory) = (&mut self.vectors, &self.memory);
        let mut len = 0;
        let mut reachable = via != Via::Bounce;
        let add = |slice: GuestSlice<'_>| {
            let pointer = slice.ptr_guard_mut().as_ptr();
            reachable &= via != Via::Direct || reach.takes(pointer.addr(), slice.len());
            if vectors.len() < MAX_VECTORS {
                vectors.push(libc::iovec { iov_base: pointer.cast(), iov_len: slice.len() });
                len += slice.len();
            }
        };
        match direction {
            _ if via == Via::Bounce => {}
            Direction::Read => chain.writable_slices(memory, range.clone(), add)?,
            Direction::Write => chain.readable_slices(memory, range.clone(), add)?,
        }
        if reachable {
            let len = u32::try_from(len).map_err(|_| Malformed::Chain)?;
            return Ok(Gathered { len, via });
        }
        let len = wanted.min(BOUNCE);
        self.use_bounce(len);
        if direction == Direction::Write {
            let GuestSide { memory, bounce } = self.guest_side();
            chain.read_exact(memory, range.start, bounce)?;
        }
        Ok(Gathered { len, via })
    }

    /// Lets the operation write zeros, as many of `len` as one operation takes.
    pub fn zeros(&mut self, len: u64, offset: u64, reach: Reach) -> Gathered {
        let len = u32::try_from(len).unwrap_or(BOUNCE).min(BOUNCE);
        self.under_way = Some(Direction::Write);
        self.use_bounce(len);
        self.bounce_mut().fill(0);
        Gathered { len, via: reach.via(offset, len) }
    }

    /// Gives the chain what was read into a buffer of our own: its first `done` bytes, to the place `start`.
    pub fn settle(&mut self, chain: &Chain, start: u32, done: usize) -> Result<(), Malformed> {
        let GuestSide { memory, bounce } = self.guest_side();
        if let Some(read) = bounce.get(..done) {
            chain.write(memory, start, read)?;
        }
        Ok(())
    }

    /// The operation has ended: notes what it has written into guest RAM. After a read that is all that was gathered, also if
    /// it came to less or to an error, which may have come half way.
    pub fn landed(&mut self) {
        if self.under_way.take() == Some(Direction::Read) && self.bounced == 0 {
            for vector in &self.vectors {
                wrote(&self.memory, vector.iov_base.addr(), vector.iov_len);
            }
        }
    }

    /// The vectors for the kernel.
    pub fn vectors(&self) -> &[libc::iovec] {
        &self.vectors
    }

    /// The buffer of our own; empty if the vectors point into guest RAM.
    pub fn bounce_mut(&mut self) -> &mut [u8] {
        self.guest_side().bounce
    }

    fn guest_side(&mut self) -> GuestSide<'_> {
        let start = aligned(&self.bounce);
        let end = if self.bounced == 0 { start } else { start + self.bounced };
        GuestSide { memory: &self.memory, bounce: &mut self.bounce[start..end] }
    }

    fn use_bounce(&mut self, len: u32) {
        if self.bounce.is_empty() {
            self.bounce = vec![0; BOUNCE as usize + BOUNCE_ALIGN];
        }
        self.bounced = len as usize;
        let buffer = self.bounce_mut();
        let vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        self.vectors.clear();
        self.vectors.push(vector);
    }
}

/// Both sides of a copy.
struct GuestSide<'a> {
    memory: &'a GuestMemory,
    bounce: &'a mut [u8],
}

/// Where in a buffer the aligned part begins.
fn aligned(buffer: &[u8]) -> usize {
    if buffer.is_empty() { 0 } else { buffer.as_ptr().align_offset(BOUNCE_ALIGN).min(BOUNCE_ALIGN) }
}
