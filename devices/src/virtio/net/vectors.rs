//! Scattered I/O between a descriptor and guest RAM: the one place where the kernel is given addresses of it.
#![expect(unsafe_code, reason = "readv and writev take addresses")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::memory::{GuestMemory, GuestSlice, wrote};
use crate::virtio::{Chain, Malformed};

/// As many as one system call takes (UIO_MAXIOV).
const MOST: usize = 1024;

/// As `struct iovec`, with the address as a number: this one is no pointer that a thread could not be given.
#[derive(Clone, Copy)]
#[repr(C)]
struct Vector {
    base: usize,
    len: usize,
}

const _: () = assert!(size_of::<Vector>() == size_of::<libc::iovec>());
const _: () = assert!(align_of::<Vector>() == align_of::<libc::iovec>());

/// Parts of guest RAM, in order: a list that is made once and used for each packet.
///
/// Invariant: every vector is a part of `memory`, which it keeps mapped.
pub(super) struct Vectors {
    memory: GuestMemory,
    list: Vec<Vector>,
}

impl Vectors {
    /// None yet, of this RAM.
    pub(super) fn of(memory: &GuestMemory) -> Self {
        Self { memory: memory.clone(), list: Vec::with_capacity(MOST + 1) }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Forgets the first so many.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.list.drain(..count);
    }

    /// Appends the readable part of a chain, or, if one system call could not take it all, nothing; whether it did.
    pub(super) fn add_readable(&mut self, chain: &Chain) -> Result<bool, Malformed> {
        let Self { memory, list } = self;
        let (before, all) = (list.len(), 0..chain.readable_len());
        chain.readable_slices(memory, all, |slice| push(list, &slice))?;
        Ok(self.keep(before, MOST))
    }

    /// The same with the writable part, and room for one vector besides.
    pub(super) fn add_writable(&mut self, chain: &Chain) -> Result<bool, Malformed> {
        let Self { memory, list } = self;
        let (before, all) = (list.len(), 0..chain.writable_len());
        chain.writable_slices(memory, all, |slice| push(list, &slice))?;
        Ok(self.keep(before, MOST - 1))
    }

    fn keep(&mut self, before: usize, most: usize) -> bool {
        let fits = self.list.len() <= most;
        if !fits {
            self.list.truncate(before);
        }
        fits
    }

    /// Writes all of it as one packet.
    pub(super) fn send(&self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        let count = i32::try_from(self.list.len()).map_err(|_| Errno::INVAL)?;
        // SAFETY: each of the `count` vectors is a part of guest RAM, which `memory` keeps mapped for the whole call. The kernel
        // only reads it; that the guest may change it meanwhile is no matter, no reference to it exists.
        done(unsafe { libc::writev(fd.as_raw_fd(), self.list.as_ptr().cast(), count) })
    }

    /// Reads one packet into it, and what does not fit into `spare`; its length, as far as there is room.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>, spare: &mut [u8]) -> Result<usize, Errno> {
        let count = i32::try_from(self.list.len() + 1).map_err(|_| Errno::INVAL)?;
        let base = spare.as_mut_ptr().expose_provenance();
        self.list.push(Vector { base, len: spare.len() });
        // SAFETY: each of the vectors but the last is a part of guest RAM, which `memory` keeps mapped for the whole call, and
        // to which no reference exists. The last one is `spare`, which is borrowed mutably for the whole call.
        let received = unsafe { libc::readv(fd.as_raw_fd(), self.list.as_ptr().cast(), count) };
        let result = done(received);
        // It is no part of guest RAM.
        self.list.pop();
        self.note(result);
        result
    }

    /// Notes what a read has written.
    fn note(&self, result: Result<usize, Errno>) {
        let mut left = match result {
            Ok(len) => len,
            Err(Errno::AGAIN | Errno::INTR | Errno::BADFD) => 0,
            // It may have failed half way.
            Err(_) => usize::MAX,
        };
        for vector in &self.list {
            if left == 0 {
                break;
            }
            let len = vector.len.min(left);
            wrote(&self.memory, vector.base, len);
            left -= len;
        }
    }
}

/// Appends a part of guest RAM; no more than a list can be of use that is too long.
fn push(list: &mut Vec<Vector>, slice: &GuestSlice<'_>) {
    let base = slice.ptr_guard_mut().as_ptr().expose_provenance();
    if list.len() <= MOST {
        list.push(Vector { base, len: slice.len() });
    }
}

fn done(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}
