//! The way between two VMMs: a Unix socket or TCP.
//!
//! Neither end of it is authenticated beyond what the host does: a Unix socket is its owner's (mode 0600), a TCP port takes whoever reaches it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use migration::wire::{Interrupter, Transport};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Transfer;
use crate::config::LinkUrl;

/// How long a host may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// The other end cannot be reached, or nobody can come.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It could not be reached.
    #[error("cannot connect to {url}: {source}; is a VMM waiting there?")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody can come there.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// Where.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody listens there, or something else has that name.
    #[error("cannot listen on unix:{}: it exists; remove it if nobody listens there, or choose another", .0.display())]
    Exists(PathBuf),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Link {
    /// Connects to where somebody waits.
    pub(super) fn connect(url: &LinkUrl) -> Result<Self, LinkError> {
        let connected = match url {
            LinkUrl::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            LinkUrl::Tcp(address) => connect_tcp(address).map(Self::Tcp),
        };
        connected.map_err(|source| LinkError::Connect { url: url.to_string(), source })
    }

    /// What makes a reader see the end, and lets what was written arrive.
    pub(super) fn ender(&self) -> io::Result<Interrupter> {
        // A shutdown fails only if the peer ended the connection before.
        Ok(match self {
            Self::Unix(stream) => {
                let stream = stream.try_clone()?;
                Box::new(move || drop(stream.shutdown(Shutdown::Read)))
            }
            Self::Tcp(stream) => {
                let stream = stream.try_clone()?;
                Box::new(move || drop(stream.shutdown(Shutdown::Read)))
            }
        })
    }
}

fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                // Messages are small and waited for.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for Link {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Sockets keep nothing back.
        Ok(())
    }
}

impl Transport for Link {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => Transport::set_timeout(stream, timeout),
            Self::Tcp(stream) => Transport::set_timeout(stream, timeout),
        }
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        match self {
            Self::Unix(stream) => stream.interrupter(),
            Self::Tcp(stream) => stream.interrupter(),
        }
    }
}

/// Where a VM may come.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    url: LinkUrl,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Waits there for connections.
    pub(super) fn bind(url: &LinkUrl) -> Result<Self, LinkError> {
        let failed = |source| LinkError::Listen { url: url.to_string(), source };
        match url {
            LinkUrl::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path).map_err(failed)?;
                // From here on its drop removes the path.
                let bound = Self { socket: Socket::Unix(listener), url: url.clone() };
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
                bound.set_nonblocking().map_err(failed)?;
                Ok(bound)
            }
            LinkUrl::Tcp(address) => {
                let listener = TcpListener::bind(address.as_str()).map_err(failed)?;
                // The port may have been the host's to choose.
                let local = listener.local_addr().map_err(failed)?;
                let url = LinkUrl::Tcp(local.to_string());
                let bound = Self { socket: Socket::Tcp(listener), url };
                bound.set_nonblocking().map_err(failed)?;
                Ok(bound)
            }
        }
    }

    /// Where it is.
    pub(super) fn url(&self) -> &LinkUrl {
        &self.url
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(listener) => listener.set_nonblocking(true),
            Socket::Tcp(listener) => listener.set_nonblocking(true),
        }
    }

    /// The next connection, which the end of the transfer interrupts, as it does the wait for it.
    pub(super) fn accept(&self, transfer: &Transfer) -> io::Result<Link> {
        loop {
            if let Some(why) = transfer.why_ended() {
                return Err(io::Error::other(why.to_owned()));
            }
            let accepted = match &self.socket {
                Socket::Unix(listener) => listener.accept().map(|(stream, _)| Link::Unix(stream)),
                Socket::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                    stream.set_nodelay(true)?;
                    Ok(Link::Tcp(stream))
                }),
            };
            match accepted {
                Ok(link) => {
                    link.set_blocking()?;
                    transfer.interrupted_by(link.ender()?);
                    return Ok(link);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(transfer)?,
                // Who came has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, transfer: &Transfer) -> io::Result<()> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(transfer.bell(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(listener) => listener.as_fd(),
            Socket::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Link {
    fn set_blocking(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(false),
            Self::Tcp(stream) => stream.set_nonblocking(false),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let LinkUrl::Unix(path) = &self.url {
            // Somebody may have removed it before.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes what a VMM that died has left.
fn remove_stale(path: &Path) -> Result<(), LinkError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let is_dead = metadata.file_type().is_socket()
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if !is_dead {
        return Err(LinkError::Exists(path.to_owned()));
    }
    let failed = |source| LinkError::Listen { url: format!("unix:{}", path.display()), source };
    std::fs::remove_file(path).map_err(failed)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
