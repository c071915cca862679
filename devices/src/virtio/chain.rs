//! One request of a driver: a chain of buffers, taken apart and checked once.
//!
//! Invariants: every segment lies in guest RAM; segments that the device may read come before those that
//! it may write; there are at most as many as the ring or the indirect table has descriptors, and their lengths
//! add up to less than 2³² bytes (virtio 1.2, 2.7.4, 2.7.5).

use std::ops::Range;

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory as _, Permissions};

use super::malformed::Malformed;
use crate::memory::{GuestMemory, GuestSlice};

/// A contiguous part of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub gpa: GuestAddress,
    /// Bytes.
    pub len: u32,
}

/// One request. Made once for a queue and filled again and again, so that requests need no heap.
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
    readable_len: u32,
    writable_len: u32,
}

impl Chain {
    /// An empty one, to be filled by [`super::Virtqueue::pop`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The descriptor that it begins with: its name when it is given back.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Bytes that the device may read.
    #[must_use]
    pub fn readable_len(&self) -> u32 {
        self.readable_len
    }

    /// Bytes that the device may write.
    #[must_use]
    pub fn writable_len(&self) -> u32 {
        self.writable_len
    }

    /// The buffers that the device may read.
    #[must_use]
    pub fn readable(&self) -> &[Segment] {
        &self.readable
    }

    /// The buffers that the device may write.
    #[must_use]
    pub fn writable(&self) -> &[Segment] {
        &self.writable
    }

    /// Copies out of the readable part, from `skip` bytes into it; how many bytes there were.
    pub fn read(
        &self,
        memory: &GuestMemory,
        skip: u32,
        data: &mut [u8],
    ) -> Result<usize, Malformed> {
        let mut done = 0;
        for part in parts(&self.readable, skip, data.len()) {
            let len = part.len as usize;
            let into = &mut data[done..done + len];
            memory.read_slice(into, part.gpa).map_err(|_| Malformed::Buffer)?;
            done += len;
        }
        Ok(done)
    }

    /// Like [`Chain::read`], but all of `data` must be there.
    pub fn read_exact(
        &self,
        memory: &GuestMemory,
        skip: u32,
        data: &mut [u8],
    ) -> Result<(), Malformed> {
        let wanted = data.len();
        let short = Malformed::Shape("its readable part is too short");
        if self.read(memory, skip, data)? == wanted { Ok(()) } else { Err(short) }
    }

    /// Copies into the writable part, from `skip` bytes into it; how many bytes there was room for.
    pub fn write(&self, memory: &GuestMemory, skip: u32, data: &[u8]) -> Result<usize, Malformed> {
        let mut done = 0;
        for part in parts(&self.writable, skip, data.len()) {
            let len = part.len as usize;
            memory.write_slice(&data[done..done + len], part.gpa).map_err(|_| Malformed::Buffer)?;
            done += len;
        }
        Ok(done)
    }

    /// The mappings of a range of the readable part, in order, for scattered I/O.
    pub fn readable_slices<'m>(
        &self,
        memory: &'m GuestMemory,
        range: Range<u32>,
        each: impl FnMut(GuestSlice<'m>),
    ) -> Result<(), Malformed> {
        slices(memory, &self.readable, range, Permissions::Read, each)
    }

    /// The mappings of a range of the writable part, in order, for scattered I/O.
    pub fn writable_slices<'m>(
        &self,
        memory: &'m GuestMemory,
        range: Range<u32>,
        each: impl FnMut(GuestSlice<'m>),
    ) -> Result<(), Malformed> {
        slices(memory, &self.writable, range, Permissions::Write, each)
    }

    /// Takes a chain of the ring apart.
    pub(super) fn fill(
        &mut self,
        memory: &GuestMemory,
        chain: DescriptorChain<&GuestMemory>,
    ) -> Result<(), Malformed> {
        self.head = chain.head_index();
        self.readable.clear();
        self.writable.clear();
        self.readable_len = 0;
        self.writable_len = 0;
        // The iterator ends in silence where a chain breaks off; whether it did, its last descriptor tells.
        let mut ended = false;
        for descriptor in chain {
            ended = !descriptor.has_next();
            let segment = Segment { gpa: descriptor.addr(), len: descriptor.len() };
            self.add(memory, segment, descriptor.is_write_only())?;
        }
        if ended { Ok(()) } else { Err(Malformed::Chain) }
    }

    fn add(
        &mut self,
        memory: &GuestMemory,
        segment: Segment,
        write_only: bool,
    ) -> Result<(), Malformed> {
        let access = if write_only { Permissions::Write } else { Permissions::Read };
        let len = segment.len as usize;
        let in_ram = || {
            mapping(memory, segment.gpa, len).is_some()
                || memory.check_range(segment.gpa, len, access)
        };
        if len > 0 && !in_ram() {
            return Err(Malformed::Buffer);
        }
        let (list, len) = if write_only {
            (&mut self.writable, &mut self.writable_len)
        } else if self.writable.is_empty() {
            (&mut self.readable, &mut self.readable_len)
        } else {
            return Err(Malformed::Order);
        };
        *len = len.checked_add(segment.len).ok_or(Malformed::Chain)?;
        list.push(segment);
        Ok(())
    }
}

/// The parts of `segments` that hold `len` bytes from `skip` on, or as many as there are.
fn parts(segments: &[Segment], skip: u32, len: usize) -> impl Iterator<Item = Segment> + '_ {
    let mut skip = skip;
    let mut left = u32::try_from(len).unwrap_or(u32::MAX);
    segments.iter().filter_map(move |segment| {
        let passed = skip.min(segment.len);
        skip -= passed;
        let len = (segment.len - passed).min(left);
        left -= len;
        // Cannot overflow: the segment lies in RAM.
        let gpa = GuestAddress(segment.gpa.0.wrapping_add(u64::from(passed)));
        (len > 0).then_some(Segment { gpa, len })
    })
}

/// The mapping of what lies in one region of RAM, as nearly everything does: found faster than the general way.
fn mapping(memory: &GuestMemory, gpa: GuestAddress, len: usize) -> Option<GuestSlice<'_>> {
    vm_memory::GuestMemoryBackend::get_slice(memory, gpa, len).ok()
}

fn slices<'m>(
    memory: &'m GuestMemory,
    segments: &[Segment],
    range: Range<u32>,
    access: Permissions,
    mut each: impl FnMut(GuestSlice<'m>),
) -> Result<(), Malformed> {
    let len = range.end.saturating_sub(range.start) as usize;
    for part in parts(segments, range.start, len) {
        if let Some(slice) = mapping(memory, part.gpa, part.len as usize) {
            each(slice);
            continue;
        }
        let slices = memory.get_slices(part.gpa, part.len as usize, access);
        for slice in slices.map_err(|_| Malformed::Buffer)? {
            each(slice.map_err(|_| Malformed::Buffer)?);
        }
    }
    Ok(())
}
