//! The way between two VMMs: a Unix socket, TCP, or TLS over TCP.
//!
//! A Unix socket is its owner's (mode 0600). A TCP port takes whoever reaches it, unless there is TLS: then both ends show certificates.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use migration::tls::{TlsClient, TlsError, TlsStream};
use migration::wire::{Interrupter, Transport};

use super::{PATIENCE, Transfer};
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
    /// This end's TLS directory.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// No TLS with the other end.
    #[error("no TLS with {url}: {source}")]
    Handshake {
        /// Where.
        url: String,
        /// Why.
        source: TlsError,
    },
}

/// Where somebody waits for a VM.
pub(super) struct Way {
    url: LinkUrl,
    tls: Option<TlsClient>,
}

impl Way {
    /// To there, with this end's certificate if there is a directory that has one.
    ///
    /// # Errors
    /// The directory is not as it should be.
    pub(super) fn to(url: LinkUrl, tls_dir: Option<&Path>) -> Result<Self, LinkError> {
        let tls = tls_dir.map(TlsClient::load).transpose()?;
        Ok(Self { url, tls })
    }

    /// So many connections, which the end of the transfer interrupts. The first shakes hands at once; the others do when the destination
    /// takes them, which is when it knows how many there will be.
    ///
    /// # Errors
    /// Nobody is there, or it is somebody else.
    pub(super) fn connect(
        &self,
        connections: u16,
        transfer: &Transfer,
    ) -> Result<Vec<Link>, LinkError> {
        let mut links = Vec::new();
        // An end that comes while this waits for a host is seen by the engine first thing.
        for _ in (0..connections).take_while(|_| transfer.why_ended().is_none()) {
            let link = self.link(transfer, links.is_empty())?;
            links.push(link);
        }
        Ok(links)
    }

    fn link(&self, transfer: &Transfer, is_first: bool) -> Result<Link, LinkError> {
        let failed = |source| LinkError::Connect { url: self.url.to_string(), source };
        let (address, tls) = match (&self.url, &self.tls) {
            (LinkUrl::Unix(path), _) => {
                return UnixStream::connect(path).map(Link::Unix).map_err(failed);
            }
            (LinkUrl::Tcp(address), None) => {
                return connect_tcp(address).map(Link::Tcp).map_err(failed);
            }
            (LinkUrl::Tcp(address), Some(tls)) => (address, tls),
        };
        let socket = connect_tcp(address).map_err(failed)?;
        // Both outlive the socket if nobody shakes hands.
        let close = socket.interrupter().map_err(failed)?;
        transfer.interrupted_by(socket.interrupter().map_err(failed)?);
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let shake = || {
            let mut stream = tls.connect(socket, host)?;
            if is_first {
                stream.complete(PATIENCE)?;
            }
            Ok(Link::Tls(Box::new(stream)))
        };
        shake().map_err(|source| {
            close();
            LinkError::Handshake { url: self.url.to_string(), source }
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    /// Who the other end is, if it has shown a certificate.
    pub(super) fn peer(&self) -> &[u8] {
        match self {
            Self::Unix(_) | Self::Tcp(_) => &[],
            Self::Tls(stream) => stream.peer(),
        }
    }
}

/// What makes a reader see the end, and lets what was written arrive.
pub(super) fn ender(socket: &TcpStream) -> io::Result<Interrupter> {
    let stream = socket.try_clone()?;
    // Fails only if the peer ended the connection before.
    Ok(Box::new(move || drop(stream.shutdown(Shutdown::Read))))
}

/// The same for a Unix socket.
pub(super) fn ender_unix(socket: &UnixStream) -> io::Result<Interrupter> {
    let stream = socket.try_clone()?;
    // As above.
    Ok(Box::new(move || drop(stream.shutdown(Shutdown::Read))))
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
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            // Sockets keep nothing back.
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Transport for Link {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => Transport::set_timeout(stream, timeout),
            Self::Tcp(stream) => Transport::set_timeout(stream, timeout),
            Self::Tls(stream) => stream.set_timeout(timeout),
        }
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        match self {
            Self::Unix(stream) => stream.interrupter(),
            Self::Tcp(stream) => stream.interrupter(),
            Self::Tls(stream) => stream.interrupter(),
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
