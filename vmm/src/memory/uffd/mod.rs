//! userfaultfd(2): pages of guest RAM that are not there yet, and what puts them there.
//!
//! ```text
//!   a thread touches a page of the watched memory that its memfd does not have
//!     └─▶ it sleeps in the kernel ──event──▶ `next_fault` … `place` or `place_zeros` ──▶ it goes on with the page
//! ```
//!
//! The memory is the mapping of a memfd (`UFFD_FEATURE_MISSING_SHMEM`, Linux 4.11); a page is missing while the memfd has a hole there. Who touches it may be
//! a thread of this process, a system call of one, or KVM for a vCPU. A vCPU that sleeps in KVM's fault handler is woken by a signal (Linux 6.2); one
//! whose instruction KVM emulates, a system call and a thread in user mode are not, and wait for the page. What is read or
//! written through the memfd itself is not seen here.
//!
//! Invariants:
//! - Placing is atomic: whoever touches the page finds it missing, and sleeps, or whole.
//! - A page that is there is never replaced: what the guest has written stays.
//! - Watched memory stays mapped for as long as the descriptor lives: it has a handle on the RAM.

mod kernel;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::mm::MprotectFlags;

use super::GuestRam;
use super::layout::PAGE_SIZE;

/// Pages of shared mappings of memfds can be watched.
const MISSING_SHMEM: u64 = 1 << 5;

/// The host cannot have guest RAM filled while the guest runs.
#[derive(Debug, thiserror::Error)]
pub enum UffdError {
    /// No descriptor.
    #[error(
        "the host gives no userfaultfd that sees KVM's page faults ({0}): let the VMM open /dev/userfaultfd, or set \
         vm.unprivileged_userfaultfd=1"
    )]
    Open(io::Error),
    /// A kernel without what is needed.
    #[error(
        "the host's userfaultfd cannot watch memory files (UFFD_FEATURE_MISSING_SHMEM, Linux 4.11)"
    )]
    Features,
    /// The memory cannot be watched.
    #[error("the host's userfaultfd does not watch guest RAM: {0}")]
    Register(io::Error),
    /// The memory is not of a kind that can be.
    #[error("RAM that is {0} cannot be filled while the guest runs")]
    Kind(&'static str),
    /// Something was there already.
    #[error("guest RAM that was to be filled while the guest runs is not empty")]
    NotEmpty,
}

/// All RAM of a VM, watched for pages that are missing.
#[derive(Debug)]
pub(super) struct Uffd {
    fd: OwnedFd,
    ram: GuestRam,
    /// Where each region is mapped: address and bytes, in the order of their pages.
    regions: Vec<(u64, u64)>,
}

impl Uffd {
    /// A descriptor that can watch memory files.
    ///
    /// # Errors
    /// The host has none, or gives none.
    pub(super) fn open() -> Result<OwnedFd, UffdError> {
        let fd = kernel::open().map_err(UffdError::Open)?;
        let mut api =
            kernel::Api { version: kernel::API, features: MISSING_SHMEM, ..Default::default() };
        // SAFETY: there are no addresses in it.
        if unsafe { kernel::request(&fd, &mut api) }.is_err() {
            return Err(UffdError::Features);
        }
        Ok(fd)
    }

    /// Watches this RAM from now on.
    ///
    /// # Errors
    /// The host cannot, or may not.
    pub(super) fn watch(ram: &GuestRam) -> Result<Self, UffdError> {
        if ram.memfd().is_none() {
            return Err(UffdError::Kind("over a snapshot's file"));
        }
        if ram.is_huge() {
            return Err(UffdError::Kind("made of huge pages"));
        }
        let fd = Self::open()?;
        let regions = ram.regions().map(|region| (region.host_address, region.size)).collect();
        let uffd = Self { fd, ram: ram.clone(), regions };
        for &(start, len) in &uffd.regions {
            let range = kernel::Range { start, len };
            let mut register =
                kernel::Register { range, mode: kernel::MODE_MISSING, ..Default::default() };
            // SAFETY: the range is a region of the RAM, on which there is a handle. Who touches a missing page sleeps until it is placed: nobody
            // sees anything else than without.
            unsafe { kernel::request(&uffd.fd, &mut register) }.map_err(UffdError::Register)?;
        }
        Ok(uffd)
    }

    /// The next page that somebody waits for; `None`: nobody does at the moment.
    pub(super) fn next_fault(&self) -> io::Result<Option<u64>> {
        while let Some(event) = kernel::read(&self.fd)? {
            if event.kind == kernel::EVENT_PAGE_FAULT
                && let Some(page) = self.page_at(event.address)
            {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// Puts pages into their places, from page `first` on, and wakes who waits for them. Those that are there stay as they are. How many were not.
    pub(super) fn place(&self, first: u64, pages: &[u8]) -> io::Result<u64> {
        let from = pages.as_ptr().expose_provenance() as u64;
        self.fill((first, pages.len() as u64 / PAGE_SIZE), |to, done, len| {
            let mut copy = kernel::CopyPages { to, from: from + done, len, ..Default::default() };
            // SAFETY: `to` and what follows is RAM, on which there is a handle, `from` the caller's bytes, of which there are as many.
            let copied = unsafe { kernel::request(&self.fd, &mut copy) };
            (copied, copy.placed)
        })
    }

    /// The same with zeros.
    pub(super) fn place_zeros(&self, first: u64, count: u64) -> io::Result<u64> {
        self.fill((first, count), |start, _, len| {
            let range = kernel::Range { start, len };
            let mut zeros = kernel::Zeros { range, ..Default::default() };
            // SAFETY: the range is RAM, on which there is a handle.
            let filled = unsafe { kernel::request(&self.fd, &mut zeros) };
            (filled, zeros.placed)
        })
    }

    /// `place` gets an address, the bytes before it that are done with, and those that follow each other there.
    fn fill(
        &self,
        (first, count): (u64, u64),
        mut place: impl FnMut(u64, u64, u64) -> (io::Result<()>, i64),
    ) -> io::Result<u64> {
        let (mut done, mut new) = (0, 0);
        while done < count {
            let (address, room) = self.address_of(first + done)?;
            let len = room.min((count - done) * PAGE_SIZE);
            let (result, placed) = place(address, done * PAGE_SIZE, len);
            let pages = match result.map_err(|error| error.raw_os_error()) {
                Ok(()) => len / PAGE_SIZE,
                // Some of it, or none: the address space was being changed.
                Err(Some(libc::EAGAIN)) => u64::try_from(placed).unwrap_or(0) / PAGE_SIZE,
                Err(Some(libc::EEXIST)) => {
                    // Its waiter may have begun to wait before it was placed, by an event that is read later.
                    self.wake(first + done)?;
                    done += 1;
                    continue;
                }
                Err(error) => return Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EIO))),
            };
            (done, new) = (done + pages, new + pages);
        }
        Ok(new)
    }

    fn wake(&self, page: u64) -> io::Result<()> {
        let range = kernel::Range { start: self.address_of(page)?.0, len: PAGE_SIZE };
        // SAFETY: the range is a page of the RAM, on which there is a handle.
        unsafe { kernel::request(&self.fd, &mut kernel::Wake(range)) }
    }

    /// Has everybody who waits look again, and be heard of again.
    pub(super) fn wake_all(&self) -> io::Result<()> {
        self.regions.iter().try_for_each(|&(start, len)| {
            let range = kernel::Range { start, len };
            // SAFETY: the range is a region of the RAM, on which there is a handle.
            unsafe { kernel::request(&self.fd, &mut kernel::Wake(range)) }
        })
    }

    /// Pages that will never be had, by where they are mapped: whoever touches one from now on gets an error. In KVM and in system calls that is
    /// EFAULT; a thread of the process itself would end by SIGSEGV. Who waits for one does so until it is woken.
    pub(super) fn deny(&self, start: u64, len: u64) -> io::Result<()> {
        let is_inside = |&(first, bytes): &(u64, u64)| {
            start.checked_sub(first).is_some_and(|skipped| len <= bytes.saturating_sub(skipped))
        };
        if !self.regions.iter().any(is_inside) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let size = usize::try_from(len).map_err(io::Error::other)?;
        let address = usize::try_from(start).map_err(io::Error::other)?;
        let address = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: pages of the RAM, on which there is a handle. There are no references to guest RAM, and who accesses them is to fail.
        Ok(unsafe { rustix::mm::mprotect(address, size, MprotectFlags::empty()) }?)
    }

    /// Ends the watch: a page that is missing is zeros from now on, and nobody waits any more.
    pub(super) fn end(&self) -> io::Result<()> {
        for &(start, len) in &self.regions {
            let range = kernel::Range { start, len };
            // SAFETY: the range is a region of the RAM, on which there is a handle.
            unsafe { kernel::request(&self.fd, &mut kernel::Unregister(range)) }?;
        }
        Ok(())
    }

    /// The RAM.
    pub(super) fn ram(&self) -> &GuestRam {
        &self.ram
    }

    fn page_at(&self, address: u64) -> Option<u64> {
        let mut first = 0;
        for &(start, len) in &self.regions {
            match address.checked_sub(start).filter(|offset| *offset < len) {
                Some(offset) => return Some(first + offset / PAGE_SIZE),
                None => first += len / PAGE_SIZE,
            }
        }
        None
    }

    /// Where a page is mapped, and the bytes from there to the end of its region.
    fn address_of(&self, page: u64) -> io::Result<(u64, u64)> {
        let mut place = page;
        for &(start, len) in &self.regions {
            match place.checked_sub(len / PAGE_SIZE) {
                None => return Ok((start + place * PAGE_SIZE, len - place * PAGE_SIZE)),
                Some(rest) => place = rest,
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "no such page"))
    }
}

impl AsFd for Uffd {
    /// Readable when somebody waits for a page.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests;
