//! Where a VM may come, and whose connections are taken for those of one migration.
//!
//! Invariants:
//! - The wait for a first connection has no end but that of the transfer. The others are waited for as long as for a frame.
//! - Who cannot shake hands is nobody: it ends no migration that has begun, and no wait for one.
//! - With TLS all connections of a migration show the same certificate. (That they are of one migration they prove by its session, which only its source knows.)

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use migration::tls::{TlsError, TlsServer};
use migration::wire::Transport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::link::{Link, LinkError, ender, ender_unix};
use super::{PATIENCE, Transfer};
use crate::config::LinkUrl;

/// How long who has connected may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Somebody who is not let in.
#[derive(Debug, thiserror::Error)]
enum Stranger {
    #[error(transparent)]
    NoTls(TlsError),
    #[error("it shows another certificate than the migration's first connection")]
    Another,
}

/// The connections of one migration, as they come.
pub(super) struct Party<'l> {
    listener: &'l Listener,
    transfer: &'l Transfer,
    /// Who has come first.
    first: Option<Vec<u8>>,
}

impl Party<'_> {
    /// The next connection, which the end of the transfer interrupts, as it does the wait for it.
    pub(super) fn accept(&mut self) -> io::Result<Link> {
        let began = Instant::now();
        loop {
            if let Some(why) = self.transfer.why_ended() {
                return Err(io::Error::other(why.to_owned()));
            }
            let limit = self.first.as_ref().map(|_| PATIENCE.saturating_sub(began.elapsed()));
            if limit.is_some_and(|limit| limit.is_zero()) {
                let missing = "not all connections of the migration have come in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, missing));
            }
            match self.listener.try_accept(self.transfer) {
                Ok(link) if self.is_one_of_them(&link) => return Ok(link),
                Ok(_) => self.listener.not_let_in(&Stranger::Another),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.listener.wait(self.transfer, limit)?;
                }
                // Who came has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => match error.downcast::<Stranger>() {
                    Ok(stranger) => {
                        self.listener.not_let_in(&stranger);
                        if self.first.is_none() {
                            self.transfer.forget_connections();
                        }
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    fn is_one_of_them(&mut self, link: &Link) -> bool {
        self.first.get_or_insert_with(|| link.peer().to_owned()) == link.peer()
    }
}

/// Where a VM may come.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    url: LinkUrl,
    tls: Option<TlsServer>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Waits there for connections, with this end's certificate if there is a directory that has one.
    ///
    /// # Errors
    /// Nobody can come there, or the directory is not as it should be.
    pub(super) fn bind(url: &LinkUrl, tls_dir: Option<&Path>) -> Result<Self, LinkError> {
        let tls = tls_dir.map(TlsServer::load).transpose()?;
        let failed = |source| LinkError::Listen { url: url.to_string(), source };
        match url {
            LinkUrl::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path).map_err(failed)?;
                // From here on its drop removes the path.
                let bound = Self { socket: Socket::Unix(listener), url: url.clone(), tls };
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
                bound.set_nonblocking().map_err(failed)?;
                Ok(bound)
            }
            LinkUrl::Tcp(address) => {
                let listener = TcpListener::bind(address.as_str()).map_err(failed)?;
                // The port may have been the host's to choose.
                let local = listener.local_addr().map_err(failed)?;
                let url = LinkUrl::Tcp(local.to_string());
                let bound = Self { socket: Socket::Tcp(listener), url, tls };
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

    /// Waits for the connections of a migration.
    pub(super) fn party<'l>(&'l self, transfer: &'l Transfer) -> Party<'l> {
        transfer.forget_connections();
        Party { listener: self, transfer, first: None }
    }

    /// The next connection, if there is one.
    fn try_accept(&self, transfer: &Transfer) -> io::Result<Link> {
        match &self.socket {
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                transfer.interrupted_by(ender_unix(&stream)?);
                Ok(Link::Unix(stream))
            }
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Messages are small and waited for.
                stream.set_nodelay(true)?;
                stream.set_nonblocking(false)?;
                transfer.interrupted_by(ender(&stream)?);
                let Some(tls) = &self.tls else { return Ok(Link::Tcp(stream)) };
                let close = stream.interrupter()?;
                let stream = tls.accept(stream, HANDSHAKE).map_err(|error| {
                    // What interrupts it keeps it open.
                    close();
                    io::Error::other(Stranger::NoTls(error))
                });
                Ok(Link::Tls(Box::new(stream?)))
            }
        }
    }

    /// Until somebody comes, the transfer ends, or so much time has gone by.
    fn wait(&self, transfer: &Transfer, limit: Option<Duration>) -> io::Result<()> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(transfer.bell(), PollFlags::IN),
        ];
        let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut fds, limit.as_ref()) {
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

impl Listener {
    fn not_let_in(&self, stranger: &Stranger) {
        tracing::warn!("somebody connected to {} and was not let in: {stranger}", self.url);
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
