//! What bytes go through.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::rights;

/// Ends a connection from any thread: whoever reads or writes it returns.
pub type Interrupter = Box<dyn Fn() + Send + Sync>;

/// A connection that carries bytes in both directions, in order.
pub trait Transport: Read + Write + Send {
    /// From now on a read or write that has moved nothing for so long (never zero) fails with `WouldBlock` or `TimedOut`.
    ///
    /// # Errors
    /// What the host says.
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()>;

    /// What ends it.
    ///
    /// # Errors
    /// What the host says.
    fn interrupter(&self) -> io::Result<Interrupter>;

    /// Sends descriptors, with one byte that nothing else reads.
    ///
    /// # Errors
    /// It carries none, or what the host says.
    fn pass(&mut self, _: &[BorrowedFd<'_>]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_RIGHTS))
    }

    /// Receives the descriptors that are to come next; `None` at the end of the connection.
    ///
    /// # Errors
    /// As [`pass`](Self::pass), or something else came.
    fn take_passed(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_RIGHTS))
    }
}

const NO_RIGHTS: &str = "descriptors go over Unix sockets only";

impl Transport for UnixStream {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        let stream = self.try_clone()?;
        // Fails only if the peer ended it before.
        Ok(Box::new(move || drop(stream.shutdown(Shutdown::Both))))
    }

    fn pass(&mut self, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        rights::send(self.as_fd(), files)
    }

    fn take_passed(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        rights::receive(self.as_fd())
    }
}

impl Transport for TcpStream {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        let stream = self.try_clone()?;
        // Fails only if the peer ended it before.
        Ok(Box::new(move || drop(stream.shutdown(Shutdown::Both))))
    }
}
