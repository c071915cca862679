//! A link that is slow, and breaks at a chosen byte.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use migration::wire::{Interrupter, Transport};
use vcpu_state::sync::atomic::{AtomicU64, Ordering};

/// One direction's end of a connection.
pub struct Link {
    stream: UnixStream,
    /// Bytes that it carries until it breaks.
    left: u64,
    /// Bytes that it takes or gives at once.
    step: usize,
    carried: Arc<AtomicU64>,
}

impl Link {
    pub fn new(stream: UnixStream, breaks_at: Option<u64>, step: usize) -> Self {
        Self { stream, left: breaks_at.unwrap_or(u64::MAX), step, carried: Arc::default() }
    }

    /// Bytes that were sent over it.
    pub fn carried(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.carried)
    }
}

impl Read for Link {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(self.step);
        self.stream.read(&mut into[..len])
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.step);
        if room == 0 {
            // What was sent before arrives, nothing else does, in neither direction.
            drop(self.stream.shutdown(Shutdown::Both));
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = self.stream.write(&bytes[..bytes.len().min(room)])?;
        self.left -= written as u64;
        self.carried.fetch_add(written as u64, Ordering::Relaxed);
        if self.left == 0 {
            drop(self.stream.shutdown(Shutdown::Both));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Link {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.stream.set_timeout(timeout)
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        self.stream.interrupter()
    }

    fn pass(&mut self, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        // The byte that they go with.
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.stream.pass(files)?;
        self.left -= 1;
        self.carried.fetch_add(1, Ordering::Relaxed);
        if self.left == 0 {
            drop(self.stream.shutdown(Shutdown::Both));
        }
        Ok(())
    }

    fn take_passed(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        self.stream.take_passed()
    }
}
