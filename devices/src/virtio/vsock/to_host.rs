//! Bytes of the guest on their way to the host's socket, and how far they have come.
//!
//! Invariants: at most [`BUF_ALLOC`] bytes are held; `forwarded` counts what has left, whether the host took it or has gone.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

/// Bytes of each connection that may be on their way to the host.
pub(super) const BUF_ALLOC: u32 = 64 << 10;

/// Whether the host takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// All has been written, and the socket shut down for writing.
    Shut,
    /// The host reads no more: what comes is thrown away.
    Gone,
}

pub(super) struct ToHost {
    bytes: VecDeque<u8>,
    way: Way,
    /// Bytes that have left, modulo 2³², and what of it the guest knows.
    forwarded: u32,
    told: u32,
}

impl ToHost {
    pub(super) fn new() -> Self {
        Self { bytes: VecDeque::new(), way: Way::Open, forwarded: 0, told: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the host has been found to read no more.
    pub(super) fn is_gone(&self) -> bool {
        self.way == Way::Gone
    }

    pub(super) fn forwarded(&self) -> u32 {
        self.forwarded
    }

    /// Whether so much has left since the guest was told that it should be told.
    pub(super) fn has_news(&self) -> bool {
        self.forwarded.wrapping_sub(self.told) >= BUF_ALLOC / 2
    }

    /// The guest knows what has left.
    pub(super) fn tell(&mut self) {
        self.told = self.forwarded;
    }

    /// Takes bytes, all or, if the guest was not granted that many, none.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let granted = self.bytes.len() + bytes.len() <= BUF_ALLOC as usize;
        if granted {
            self.bytes.extend(bytes);
        }
        granted
    }

    /// Writes what the host takes.
    pub(super) fn flush(&mut self, socket: &OwnedFd) {
        while !self.bytes.is_empty() {
            if self.way == Way::Gone {
                self.forward(self.bytes.len());
            } else {
                match send(socket, self.bytes.as_slices().0, SendFlags::NOSIGNAL) {
                    Ok(len) => self.forward(len),
                    Err(Errno::AGAIN) => return,
                    Err(Errno::INTR) => {}
                    Err(_) => self.way = Way::Gone,
                }
            }
        }
    }

    /// There will be no more, and all has been written.
    pub(super) fn shut(&mut self, socket: &OwnedFd) {
        if self.way == Way::Open {
            self.way = Way::Shut;
            // If it fails, nobody is there any more who could be told.
            let _ = shutdown(socket, Shutdown::Write);
        }
    }

    /// Forgets what is held.
    pub(super) fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }

    fn forward(&mut self, len: usize) {
        self.bytes.drain(..len);
        // At most `BUF_ALLOC`.
        self.forwarded = self.forwarded.wrapping_add(u32::try_from(len).unwrap_or(BUF_ALLOC));
    }
}
