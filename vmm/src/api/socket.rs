//! The socket's path: who may have it, and who cleans it up.
//!
//! ```text
//!   no such path ─────────────────────────▶ bind
//!   a socket that refuses connections ────▶ stale: unlink, bind
//!   a socket that takes them ─────────────▶ InUse
//!   anything else ────────────────────────▶ NotASocket
//! ```
//! The look and the bind happen under a lock file beside the path, so that two VMMs that start
//! at once cannot both find a stale socket and one remove the other's.
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::ApiError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A path that this process listens on. Unlinks it when dropped, if it still is the same socket.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for Socket {
    fn drop(&mut self) {
        if inode_of(&self.path).is_ok_and(|inode| inode == self.inode)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the API socket");
        }
    }
}

fn inode_of(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Listens on `path`, with mode 0600.
pub(super) fn listen(path: &Path) -> Result<(Socket, UnixListener), ApiError> {
    let failed =
        |action| move |source: io::Error| ApiError::Io { path: path.to_path_buf(), action, source };
    let address =
        SocketAddrUnix::new(path).map_err(|_| ApiError::PathTooLong(path.to_path_buf()))?;
    let _lock = Lock::take(path).map_err(failed("cannot make a lock file beside it"))?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("cannot look at it")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ApiError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => {
            let listener = listener_of(&address).map_err(failed("cannot try it"))?;
            if let Listener::Process(pid) = listener {
                return Err(ApiError::InUse { path: path.to_path_buf(), pid });
            }
            std::fs::remove_file(path).map_err(failed("cannot remove the stale one"))?;
        }
    }
    let listener = bind(&address).map_err(|error| failed("cannot listen on it")(error.into()))?;
    let inode = inode_of(path).map_err(failed("cannot look at it"))?;
    Ok((Socket { path: path.to_path_buf(), inode }, UnixListener::from(listener)))
}

fn bind(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let listener = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The path takes its mode from the unbound socket, so it is private from its first moment.
    rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&listener, address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Who is behind a socket's path.
enum Listener {
    Nobody,
    /// With its id, if the kernel tells.
    Process(Option<i32>),
}

fn listener_of(address: &SocketAddrUnix) -> io::Result<Listener> {
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        // Not blocking: a VMM whose backlog is full is alive too, and may stay so.
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match rustix::net::connect(&probe, address) {
        Ok(()) => {
            let peer = rustix::net::sockopt::socket_peercred(&probe).ok();
            Ok(Listener::Process(peer.map(|peer| peer.pid.as_raw_nonzero().get())))
        }
        Err(Errno::AGAIN) => Ok(Listener::Process(None)),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(Listener::Nobody),
        Err(error) => Err(error.into()),
    }
}

/// An exclusive lock for as long as it lives, as the file `PATH.lock`, which goes with it.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            // Its former holder may have unlinked the file while this waited for it: then this
            // holds a lock that nobody else can find.
            let held = file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))?;
            if inode_of(&path).is_ok_and(|current| current == held) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the file is closed, and so while the lock is held: see `take`.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the lock file");
        }
    }
}
