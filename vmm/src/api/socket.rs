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
    let failed = |action| failed(path, action);
    let address = address(path)?;
    let _lock = Lock::take(path).map_err(failed("cannot make a lock file beside it"))?;
    match occupant(path, &address)? {
        Occupant::Nothing => {}
        Occupant::Stale => {
            std::fs::remove_file(path).map_err(failed("cannot remove the stale one"))?;
        }
        Occupant::Live(pid) => {
            return Err(ApiError::InUse { path: path.to_path_buf(), pid });
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

/// Unlinks a socket that nobody listens on; says whether it did.
pub(super) fn remove_stale(path: &Path) -> Result<bool, ApiError> {
    let address = address(path)?;
    let _lock = Lock::take(path).map_err(failed(path, "cannot make a lock file beside it"))?;
    match occupant(path, &address)? {
        Occupant::Nothing | Occupant::Live(_) => Ok(false),
        Occupant::Stale => {
            std::fs::remove_file(path).map_err(failed(path, "cannot remove it"))?;
            Ok(true)
        }
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, ApiError> {
    SocketAddrUnix::new(path).map_err(|_| ApiError::PathTooLong(path.to_path_buf()))
}

fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> ApiError {
    move |source| ApiError::Io { path: path.to_path_buf(), action, source }
}

/// What is at a path.
enum Occupant {
    Nothing,
    /// A socket that nobody listens on.
    Stale,
    /// A socket of a process, with its id, if the kernel tells.
    Live(Option<i32>),
}

/// What is at `path`; an error if it is something other than a socket. Only under the lock is
/// `Stale` sure: without it, the owner may be between `bind` and `listen`.
fn occupant(path: &Path, address: &SocketAddrUnix) -> Result<Occupant, ApiError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nothing),
        Err(error) => Err(failed(path, "cannot look at it")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(ApiError::NotASocket(path.to_path_buf()))
        }
        Ok(_) => probe(address).map_err(|error| failed(path, "cannot try it")(error.into())),
    }
}

fn probe(address: &SocketAddrUnix) -> Result<Occupant, Errno> {
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
            Ok(Occupant::Live(peer.map(|peer| peer.pid.as_raw_nonzero().get())))
        }
        Err(Errno::AGAIN) => Ok(Occupant::Live(None)),
        Err(Errno::CONNREFUSED) => Ok(Occupant::Stale),
        Err(Errno::NOENT) => Ok(Occupant::Nothing),
        Err(error) => Err(error),
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
