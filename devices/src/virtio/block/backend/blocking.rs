//! Raw images by blocking calls: every operation ends while it is being submitted.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::Errno;

use super::{Action, Backend, Completion, Operation};
use crate::virtio::block::image::RawImage;
use crate::virtio::block::transfer::Transfer;

/// Carries operations out on the caller's thread.
pub(in crate::virtio::block) struct Blocking {
    image: Arc<RawImage>,
    ended: VecDeque<Completion>,
}

impl Blocking {
    pub fn new(image: Arc<RawImage>) -> Self {
        Self { image, ended: VecDeque::new() }
    }

    fn carry_out(&self, operation: &Operation, transfer: &Transfer) -> Result<u32, Errno> {
        let file = self.image.file(operation.via);
        let range = (operation.offset, operation.len);
        match operation.action {
            Action::Read => vectored(libc::preadv, file, transfer, operation.offset),
            Action::Write => vectored(libc::pwritev, file, transfer, operation.offset),
            Action::Sync => fdatasync(file).map(|()| 0),
            Action::Deallocate => fallocate(file, DEALLOCATE, range.0, range.1).map(|()| 0),
            Action::Zero => fallocate(file, ZERO, range.0, range.1).map(|()| 0),
        }
    }
}

/// How a file gives up blocks.
pub(super) const DEALLOCATE: FallocateFlags =
    FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
/// How a file zeroes blocks.
pub(super) const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);

impl Backend for Blocking {
    fn submit(&mut self, token: u16, operation: &Operation, mut transfer: Box<Transfer>) {
        let result = self.carry_out(operation, &transfer);
        transfer.landed();
        self.ended.push_back(Completion { token, result, transfer });
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn next(&mut self) -> Option<Completion> {
        self.ended.pop_front()
    }

    fn in_flight(&self) -> usize {
        self.ended.len()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn acknowledge(&mut self) {}

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `preadv` or `pwritev`.
type Vectored = unsafe extern "C" fn(
    libc::c_int,
    *const libc::iovec,
    libc::c_int,
    libc::off_t,
) -> libc::ssize_t;

#[expect(unsafe_code, reason = "the kernel takes addresses of guest memory")]
fn vectored(
    call: Vectored,
    file: impl AsFd,
    transfer: &Transfer,
    offset: u64,
) -> Result<u32, Errno> {
    let vectors = transfer.vectors();
    let count = libc::c_int::try_from(vectors.len()).map_err(|_| Errno::INVAL)?;
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::FBIG)?;
    // SAFETY: the vectors are valid for as long as the transfer, which is borrowed during the call. They point
    // into guest RAM, of which no reference exists, or into the transfer's own buffer, which only the transfer's
    // borrower uses.
    let moved = unsafe { call(file.as_fd().as_raw_fd(), vectors.as_ptr(), count, offset) };
    // A call moves less than 2 GiB.
    u32::try_from(moved)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
