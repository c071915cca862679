//! The REST API: HTTP/1.1 on a Unix socket, with Cloud Hypervisor's paths, JSON and status codes.
//!
//! ```text
//!            ┌ worker: accept ─▶ read ─▶ parse ─▶ VmmControl ─▶ one write ─▶ read …
//!  socket ───┤ worker: accept …
//!            └ (spare workers wait in accept; one more is made when the last spare gets busy)
//! ```
//!
//! Workers only parse, call [`VmmControl`] and answer; nothing here holds state of the VM. A
//! connection is accepted by the thread that then serves it, so that a request costs one wake-up,
//! one `read` and one `write`.
//!
//! Invariants:
//! - A request gets exactly one answer; what cannot be parsed is answered and the connection
//!   closed, because nobody knows where the next request would begin.
//! - [`ApiServer::stop`] lets requests under way finish and write their answer, and returns when no
//!   worker is left. So the answer to `vmm.shutdown` arrives.
//! - The socket belongs to its owner only (mode 0600), and a live VMM's socket is never taken over.
mod bodies;
mod chunked;
mod connection;
mod delivery;
mod head;
mod response;
mod routes;
mod socket;
mod workers;

use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::control::VmmControl;
use connection::Connection;
use socket::Socket;
use workers::Pool;

/// The largest request head (request line and headers) in bytes; beyond, 431.
pub const MAX_HEAD: usize = 8 << 10;
/// The largest request body in bytes; beyond, 413.
pub const MAX_BODY: usize = 1 << 20;
/// The most connections served at a time; further ones wait in the socket's backlog.
pub const MAX_CONNECTIONS: usize = 64;

/// Why the API could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody answers on that socket.
    #[error("API socket {} is in use by a live VMM{}", path.display(), with_pid(*pid))]
    InUse {
        /// The socket.
        path: PathBuf,
        /// The process that listens on it, if the kernel tells.
        pid: Option<i32>,
    },
    /// Something else has that name; it is left alone.
    #[error("API socket {}: exists and is no socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit `sun_path` (`unix(7)`).
    #[error("API socket {}: the path is longer than 107 bytes", .0.display())]
    PathTooLong(PathBuf),
    /// The system refuses.
    #[error("API socket {}: {action}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Removes the socket at `path` if nobody listens on it any longer, and says whether it did. Safe
/// against a VMM that is just starting on that path.
pub fn remove_stale(path: &Path) -> Result<bool, ApiError> {
    socket::remove_stale(path)
}

/// Serves one connection that exists already, on the calling thread, until the client ends it, or
/// sends what is no request, or `stop` becomes readable.
pub fn serve_connection(stream: UnixStream, stop: BorrowedFd<'_>, control: &dyn VmmControl) {
    Connection::new(stream, stop).serve(control);
}

fn with_pid(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", pid {pid}"))
}

/// The API on its socket. Dropping it stops it.
#[derive(Debug)]
pub struct ApiServer {
    /// Unlinks the socket's path when dropped.
    socket: Option<Socket>,
    listener: Arc<UnixListener>,
    pool: Arc<Pool>,
    /// Hung up when the last worker is gone.
    workers: Receiver<Infallible>,
}

impl ApiServer {
    /// Listens on `path` and serves `control` from then on. A stale socket of that name is
    /// replaced, a live one is [`ApiError::InUse`].
    pub fn start(path: &Path, control: Arc<dyn VmmControl>) -> Result<Self, ApiError> {
        let (socket, listener) = socket::listen(path)?;
        let failed = |action| {
            let path = path.to_path_buf();
            move |source| ApiError::Io { path, action, source }
        };
        let listener = Arc::new(listener);
        let (alive, workers) = channel();
        let pool = Pool::new(Arc::clone(&listener), control)
            .map_err(failed("cannot make an event descriptor"))?;
        let server = Self { socket: Some(socket), listener, pool, workers };
        // On failure the server is dropped, which stops the workers that were made.
        server.pool.start(&alive).map_err(failed("cannot start a thread"))?;
        Ok(server)
    }

    /// Removes the socket, lets requests under way finish, ends all connections and threads.
    ///
    /// Must not be called from inside a [`VmmControl`] method: it waits for those.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // Unlinked while it still answers: whoever finds the path and nobody behind it may
        // then conclude that its owner is dead.
        drop(self.socket.take());
        self.pool.stop();
        if let Err(error) = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both) {
            tracing::warn!(%error, "cannot shut the API socket down");
        }
        // Nobody sends: this returns when the last worker has dropped its sender.
        let _ = self.workers.recv();
    }
}
