//! The one place that gives the host advice about mapped guest RAM, and puts zeros in its place.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use rustix::mm::{Advice, MapFlags, ProtFlags};
use vm_memory::GuestMemoryBackend;

use super::GuestMemory;

/// A span of the process's address space that is guest RAM. It borrows the memory, so the
/// mapping outlives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'m> {
    address: usize,
    len: usize,
    memory: PhantomData<&'m GuestMemory>,
}

impl<'m> Span<'m> {
    /// The spans of every region, in guest order.
    pub(super) fn of(memory: &'m GuestMemory) -> Vec<Self> {
        memory
            .iter()
            .map(|region| Self {
                address: region.as_ptr().expose_provenance(),
                len: region.size(),
                memory: PhantomData,
            })
            .collect()
    }

    /// A part of a region; `None` if it is not.
    pub(super) fn part(memory: &'m GuestMemory, (address, len): (usize, usize)) -> Option<Self> {
        let end = address.checked_add(len)?;
        let within = |span: &Self| span.address <= address && end <= span.address + span.len;
        Self::of(memory).iter().any(within).then_some(Self { address, len, memory: PhantomData })
    }

    /// Puts zeros in its place that no file has: what was there is gone.
    pub(super) fn replace_by_zeros(self) -> io::Result<()> {
        let address = std::ptr::with_exposed_provenance_mut(self.address);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the span lies in a region of the memory that it borrows, which was mapped by this process for nothing but guest RAM, and is
        // mapped in the same way afterwards, until the region is unmapped as a whole. To guest RAM there are no references; who reads or
        // writes it meanwhile finds what was there, or zeros.
        let mapped = unsafe { rustix::mm::mmap_anonymous(address, self.len, protection, flags) };
        mapped.map(drop).map_err(io::Error::from)
    }

    /// Puts a part of a file in its place, mapped shared or privately: what is in the memory is what is there.
    pub(super) fn replace_by_file(
        self,
        file: BorrowedFd<'_>,
        offset: u64,
        sharing: MapFlags,
    ) -> io::Result<()> {
        let address = std::ptr::with_exposed_provenance_mut(self.address);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = sharing | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: as in `replace_by_zeros`; who reads or writes it meanwhile finds what was there, or the file's.
        let mapped =
            unsafe { rustix::mm::mmap(address, self.len, protection, flags, file, offset) };
        mapped.map(drop).map_err(io::Error::from)
    }

    /// Cuts the span into pieces of at most `piece` bytes (a multiple of the page size).
    pub(super) fn pieces(self, piece: usize) -> impl Iterator<Item = Self> {
        (0..self.len).step_by(piece).map(move |offset| Self {
            address: self.address + offset,
            len: piece.min(self.len - offset),
            memory: PhantomData,
        })
    }

    /// Gives `advice` for this span. Only advice that keeps what the memory holds is taken.
    pub(super) fn advise(self, advice: Keep) -> io::Result<()> {
        let advice = match advice {
            Keep::HugePages => Advice::LinuxHugepage,
            Keep::NoHugePages => Advice::LinuxNoHugepage,
            Keep::OutOfDumps => Advice::LinuxDontDump,
            Keep::FaultIn => Advice::LinuxPopulateWrite,
        };
        let address = std::ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: the span lies in a region of the memory that it borrows, so it is mapped for
        // the whole call; none of the four kinds of advice changes its contents.
        unsafe { rustix::mm::madvise(address, self.len, advice) }.map_err(io::Error::from)
    }
}

/// Advice that keeps the contents.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    /// Back it with transparent huge pages where possible.
    HugePages,
    /// Don't.
    NoHugePages,
    /// Leave it out of core dumps of the VMM.
    OutOfDumps,
    /// Fault every page in, writable (Linux 5.14).
    FaultIn,
}
