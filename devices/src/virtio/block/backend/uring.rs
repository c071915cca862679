//! Raw images by io_uring: operations run in the kernel while the guest and the worker go on.
//!
//! Invariant: for each entry that the kernel has or will get, `in_flight` holds the transfer whose vectors it points to.
//! So does it when the ring is dropped: that waits for the kernel, or leaks what the kernel may still use.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::blocking::{DEALLOCATE, ZERO};
use super::{Action, Backend, Completion, Operation};
use crate::event::Event;
use crate::virtio::block::image::RawImage;
use crate::virtio::block::transfer::Transfer;

/// Carries operations out in the kernel.
pub(in crate::virtio::block) struct Uring {
    ring: IoUring,
    image: Arc<RawImage>,
    ended: Event,
    in_flight: Vec<Option<Box<Transfer>>>,
    count: usize,
}

/// Whether this host lets us have a ring.
///
/// # Errors
/// Why not.
pub(in crate::virtio::block) fn is_available() -> io::Result<()> {
    IoUring::new(1).map(drop)
}

impl Uring {
    /// A ring for so many operations at a time.
    pub fn new(image: Arc<RawImage>, depth: u16) -> io::Result<Self> {
        let ring = IoUring::new(u32::from(depth).next_power_of_two())?;
        let ended = Event::new()?;
        ring.submitter().register_eventfd(ended.as_fd().as_raw_fd())?;
        let in_flight = (0..depth).map(|_| None).collect();
        Ok(Self { ring, image, ended, in_flight, count: 0 })
    }

    fn entry(&self, operation: &Operation, transfer: &Transfer) -> Entry {
        let file = Fd(self.image.file(operation.via).as_fd().as_raw_fd());
        let (offset, len) = (operation.offset, operation.len);
        let vectors = transfer.vectors();
        // At most 1024.
        let count = u32::try_from(vectors.len()).unwrap_or(0);
        let fallocate = |mode: FallocateFlags| {
            let mode = mode.bits().cast_signed();
            opcode::Fallocate::new(file, len).offset(offset).mode(mode).build()
        };
        match operation.action {
            Action::Read => {
                opcode::Readv::new(file, vectors.as_ptr(), count).offset(offset).build()
            }
            Action::Write => {
                opcode::Writev::new(file, vectors.as_ptr(), count).offset(offset).build()
            }
            Action::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
            Action::Deallocate => fallocate(DEALLOCATE),
            Action::Zero => fallocate(ZERO),
        }
    }

    #[expect(unsafe_code, reason = "the kernel takes addresses of guest memory")]
    fn push(&mut self, entry: &Entry) -> bool {
        // SAFETY: the caller keeps the transfer that the entry points to in `in_flight` until the completion has come;
        // `Drop` keeps it beyond that. Its vectors are valid for as long as it exists, in a heap block that does not
        // move. They point into guest RAM, of which no reference exists, or into the transfer's own buffer, which nobody
        // touches meanwhile. The file is open for as long as `image`.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    fn enter(&self, wanted: usize) -> io::Result<bool> {
        loop {
            match self.ring.submit_and_wait(wanted) {
                Ok(_) => return Ok(true),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The kernel is short of memory or of room for completions: those are taken first.
                    Some(libc::EAGAIN | libc::EBUSY) => return Ok(false),
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Backend for Uring {
    fn submit(&mut self, token: u16, operation: &Operation, transfer: Box<Transfer>) {
        let entry = self.entry(operation, &transfer).user_data(token.into());
        // The block that the vectors are in stays where it is.
        if let Some(lost) = self.in_flight[usize::from(token)].replace(transfer) {
            // Two operations of one token: a mistake of the caller, which the kernel must not pay for.
            std::mem::forget(lost);
        }
        self.count += 1;
        // The ring has an entry for each token, so there is room.
        let pushed = self.push(&entry);
        debug_assert!(pushed, "an entry for each token");
    }

    fn flush(&mut self) -> io::Result<bool> {
        if self.ring.submission().is_empty() { Ok(true) } else { self.enter(0) }
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            let token = u16::try_from(entry.user_data()).ok();
            let place = token.and_then(|token| self.in_flight.get_mut(usize::from(token)));
            if let (Some(token), Some(mut transfer)) = (token, place.and_then(Option::take)) {
                self.count -= 1;
                transfer.landed();
                let result = u32::try_from(entry.result());
                let result = result.map_err(|_| Errno::from_raw_os_error(-entry.result()));
                return Some(Completion { token, result, transfer });
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.count
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ended.as_fd())
    }

    fn acknowledge(&mut self) {
        self.ended.clear();
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.count > 0 && self.ring.completion().is_empty() {
            self.enter(1)?;
        }
        Ok(())
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.count > 0 {
            if let Err(error) = self.wait() {
                tracing::error!(%error, "operations of a disk cannot be waited for");
                // The kernel may still write to their memory.
                std::mem::forget(std::mem::take(&mut self.in_flight));
                return;
            }
            while self.next().is_some() {}
        }
    }
}
