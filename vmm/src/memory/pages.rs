//! Pages of guest RAM that come from the host and go back to it.

use std::io;
use std::os::fd::AsFd;

use devices::memory::wrote;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use vm_memory::GuestAddress;

use super::ram::{Backing, Faulting};
use super::{GuestRam, MemoryError, RamRegion, overlay};

/// The memfd keeps its size; the pages go.
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// Bytes that are allocated at once, if nothing comes between.
const PIECE: u64 = 8 << 20;
/// Bytes that are, if much does.
const LEAST: u64 = 4 << 10;

/// Allocates pages of the file, piece by piece. The kernel takes back what an interrupted call has done so far (EINTR), and a thread that is to
/// pause is signalled again and again: one call for all of it might never come to its end.
fn allocate(file: impl AsFd, mut offset: u64, mut left: u64) -> io::Result<()> {
    let mut most = PIECE;
    while left > 0 {
        let len = left.min(most);
        match fallocate(&file, FallocateFlags::empty(), offset, len) {
            Ok(()) => {
                (offset, left) = (offset + len, left - len);
                most = (most * 2).min(PIECE);
            }
            Err(Errno::INTR) => most = (len / 2).next_multiple_of(LEAST).max(LEAST),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A part of one region, in bytes.
struct Part {
    /// Where it is in the file.
    offset: u64,
    /// Where it is mapped.
    address: u64,
    len: u64,
}

impl Part {
    /// Its address and length.
    fn span(&self) -> (usize, usize) {
        (all(self.address), all(self.len))
    }
}

/// A usize fits in 64 bits on every host that this crate builds for.
fn all(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl GuestRam {
    /// Gives every page back to the host, so that all of the RAM reads as zeros again: what a
    /// reboot starts from. No vCPU and no device may be using the RAM; what they write meanwhile
    /// may or may not survive.
    pub fn discard(&self) -> Result<(), MemoryError> {
        let size = self.size() + self.hot_region().map_or(0, |(_, size)| size);
        let regions: Vec<_> = self.regions().collect();
        let discarded =
            regions.iter().try_for_each(|region| self.discard_range(region.gpa, region.size));
        discarded.map_err(|source| MemoryError::Host { what: "discard", size, source })
    }

    /// Gives whole pages back to the host; they read as zeros from now on. The range may run over regions that
    /// adjoin.
    ///
    /// # Errors
    /// A part of it is no RAM; what comes before that part is given back. Or the host refuses.
    pub fn discard_range(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.each(gpa, len, |part| {
            match self.backing() {
                // A hole would be a page that is still to come.
                Backing::Memfd(_) if self.missing_bytes() > 0 => {
                    overlay::fill(self.memory(), part.span())?;
                }
                Backing::Memfd(file) => fallocate(file, PUNCH, part.offset, part.len)?,
                Backing::Snapshot(_) => overlay::zeros(self.memory(), part.span())?,
            }
            self.note(part.address, part.len);
            Ok(())
        })
    }

    /// Makes pages ready that become the guest's: they read as zeros, whatever was there, and if the RAM is faulted in
    /// (`prefault=on`), so are they.
    ///
    /// # Errors
    /// A part of them is no RAM, or the host has no memory left; some of them may be faulted in then.
    pub fn renew_range(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.discard_range(gpa, len)?;
        match self.faulting() {
            Faulting::OnTouch => Ok(()),
            Faulting::Ahead => self.each(gpa, len, |part| match self.backing() {
                Backing::Memfd(file) => allocate(file, part.offset, part.len),
                Backing::Snapshot(_) => overlay::fault_in(self.memory(), part.span()),
            }),
        }
    }

    /// Pages have become zeros, which a log of what was written has to know.
    fn note(&self, address: u64, len: u64) {
        wrote(self.memory(), all(address), all(len));
    }

    /// The parts of the file that a range of guest RAM is.
    fn each(
        &self,
        gpa: GuestAddress,
        len: u64,
        mut act: impl FnMut(Part) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut start, mut left) = (gpa.0, len);
        while left > 0 {
            let inside =
                |region: &RamRegion| start >= region.gpa.0 && start - region.gpa.0 < region.size;
            let region = self.regions().find(inside);
            let region = region.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{start:#x} is no RAM"))
            })?;
            let offset = start - region.gpa.0;
            let part = left.min(region.size - offset);
            act(Part {
                offset: region.file_offset + offset,
                address: region.host_address + offset,
                len: part,
            })?;
            (start, left) = (start + part, left - part);
        }
        Ok(())
    }
}
