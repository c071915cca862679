//! The listening Unix socket of a console, or of another device.
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::error::ConsoleError;

/// A listening socket that removes its path at the end.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the path, so that nobody else's is removed.
    identity: (u64, u64),
}

impl Listener {
    /// Listens at a path. A socket that nobody listens on any more is taken out of the way.
    pub(crate) fn bind(path: &Path) -> Result<Self, ConsoleError> {
        let failed = |source| ConsoleError::Socket { path: path.to_owned(), source };
        // Looking whether somebody is there, removing, and binding are one step to others
        // who do the same. The lock goes with the file.
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let lock = File::open(folder).map_err(failed)?;
        lock.lock().map_err(failed)?;
        remove_dead(path)?;
        let socket = UnixListener::bind(path).map_err(failed)?;
        let metadata = path.symlink_metadata().map_err(failed)?;
        let this =
            Self { socket, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
        this.socket.set_nonblocking(true).map_err(failed)?;
        Ok(this)
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next client, if one waits; non-blocking.
    pub(crate) fn accept(&self) -> io::Result<OwnedFd> {
        let (client, _) = self.socket.accept()?;
        client.set_nonblocking(true)?;
        Ok(client.into())
    }
}

/// Makes room for a socket, unless something is there that lives or is no socket.
fn remove_dead(path: &Path) -> Result<(), ConsoleError> {
    let failed = |source| ConsoleError::Socket { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(ConsoleError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match connect_now(path) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(Errno::NOENT) => Ok(()),
        // Again: it lives, and its queue is full.
        Ok(_) | Err(Errno::AGAIN) => Err(ConsoleError::SocketInUse { path: path.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Connects, without waiting; the socket does not block.
pub(crate) fn connect_now(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = |there: std::fs::Metadata| (there.dev(), there.ino()) == self.identity;
        if self.path.symlink_metadata().is_ok_and(ours) {
            // Somebody else may have removed it meanwhile, which is as well.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
