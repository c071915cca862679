//! Scattered I/O between a descriptor and guest RAM: the one place where the kernel is given addresses of it.
#![expect(unsafe_code, reason = "readv and writev take addresses")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use vm_memory::VolatileSlice;

use crate::memory::GuestMemory;
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

/// Why no packet was moved.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The chain is the driver's fault.
    Chain(Malformed),
    /// The host's.
    Host(Errno),
}

/// A list of vectors that is made once and used for each packet, and room for what does not fit.
pub(super) struct Vectors {
    list: Vec<Vector>,
    /// Behind the guest's buffers: what comes to lie here is more than they could take.
    spare: Box<[u8]>,
}

impl Vectors {
    /// With room for `spare` bytes that do not fit.
    pub(super) fn new(spare: usize) -> Self {
        Self { list: Vec::with_capacity(MOST), spare: vec![0; spare].into_boxed_slice() }
    }

    /// Writes the readable part of a chain as one packet.
    pub(super) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        memory: &GuestMemory,
        chain: &Chain,
    ) -> Result<usize, Failure> {
        self.list.clear();
        let list = &mut self.list;
        let mut fits = true;
        let all = 0..chain.readable_len();
        chain
            .readable_slices(memory, all, |slice| fits &= push(list, MOST, &slice))
            .map_err(Failure::Chain)?;
        let count = counted(list, fits)?;
        // SAFETY: each of the `count` vectors is a part of guest RAM, which `memory` keeps mapped for the whole call. The kernel
        // only reads it; that the guest may change it meanwhile is no matter, no reference to it exists.
        let sent = unsafe { libc::writev(fd.as_raw_fd(), list.as_ptr().cast(), count) };
        done(sent)
    }

    /// Reads one packet into the writable part of a chain; its length, also of what did not fit (as far as there is
    /// spare room).
    pub(super) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        memory: &GuestMemory,
        chain: &Chain,
    ) -> Result<usize, Failure> {
        self.list.clear();
        let list = &mut self.list;
        let mut fits = true;
        let all = 0..chain.writable_len();
        chain
            .writable_slices(memory, all, |slice| fits &= push(list, MOST - 1, &slice))
            .map_err(Failure::Chain)?;
        list.push(Vector {
            base: self.spare.as_mut_ptr().expose_provenance(),
            len: self.spare.len(),
        });
        let count = counted(list, fits)?;
        // SAFETY: each of the vectors but the last is a part of guest RAM, which `memory` keeps mapped for the whole call, and
        // to which no reference exists. The last one is `spare`, which is borrowed mutably for the whole call.
        let received = unsafe { libc::readv(fd.as_raw_fd(), list.as_ptr().cast(), count) };
        done(received)
    }
}

/// Appends a part of guest RAM; false if there are `most` already.
fn push(list: &mut Vec<Vector>, most: usize, slice: &VolatileSlice<'_>) -> bool {
    let base = slice.ptr_guard_mut().as_ptr().expose_provenance();
    let fits = list.len() < most;
    if fits {
        list.push(Vector { base, len: slice.len() });
    }
    fits
}

fn counted(list: &[Vector], fits: bool) -> Result<i32, Failure> {
    let scattered = Failure::Chain(Malformed::Shape("a packet in fewer than 1024 buffers"));
    match i32::try_from(list.len()) {
        Ok(count) if fits => Ok(count),
        _ => Err(scattered),
    }
}

fn done(result: isize) -> Result<usize, Failure> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Failure::Host(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}
