//! The threads that accept and serve connections.
//!
//! Each worker accepts for itself. `waiting` counts those in `accept`: whoever leaves as the last
//! one starts another first thing, so that there is always somebody to accept while fewer than
//! [`MAX_CONNECTIONS`] are served; whoever comes back when [`SPARE`] wait ends instead.
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::MAX_CONNECTIONS;
use super::connection::Connection;
use crate::control::VmmControl;
use crate::sched;

/// Workers kept waiting. With two, a client that connects anew for each request never waits for
/// a thread to be made.
const SPARE: usize = 2;
/// Stack of a worker; a request needs a small part of it, and only what is touched is memory.
const STACK: usize = 256 << 10;

/// What the workers share.
pub(super) struct Pool {
    listener: Arc<UnixListener>,
    control: Arc<dyn VmmControl>,
    /// An eventfd that stays readable from [`Pool::stop`] on.
    stop: OwnedFd,
    waiting: AtomicUsize,
    alive: AtomicUsize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("waiting", &self.waiting)
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Without workers yet.
    pub fn new(listener: Arc<UnixListener>, control: Arc<dyn VmmControl>) -> io::Result<Arc<Self>> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (waiting, alive) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Arc::new(Self { listener, control, stop, waiting, alive }))
    }

    /// Starts the spare workers. Each keeps a clone of `token` until it ends.
    pub fn start(self: &Arc<Self>, token: &Sender<Infallible>) -> io::Result<()> {
        (0..SPARE).try_for_each(|_| self.spawn(token.clone()))
    }

    /// Tells all workers to end after the request they are at. Those in `accept` learn it from
    /// the listener being shut down.
    pub fn stop(&self) {
        if let Err(error) = rustix::io::write(&self.stop, &1_u64.to_ne_bytes()) {
            // Nothing else writes to it, so it can only be readable already.
            tracing::debug!(%error, "the stop event is pending already");
        }
    }

    fn is_stopping(&self) -> bool {
        self.pause_unless_stopped(Timespec { tv_sec: 0, tv_nsec: 0 })
    }

    /// Waits at most `limit` for the stop event and says whether it came.
    fn pause_unless_stopped(&self, limit: Timespec) -> bool {
        let mut fds = [PollFd::new(&self.stop, PollFlags::IN)];
        poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
    }

    fn spawn(self: &Arc<Self>, token: Sender<Infallible>) -> io::Result<()> {
        // Relaxed: the counters only decide how many threads there are; the thread's start and
        // the channel's end order everything else.
        self.alive.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let pool = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("api".to_owned())
            .stack_size(STACK)
            .spawn(move || pool.work(&token));
        if spawned.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.alive.fetch_sub(1, Ordering::Relaxed);
        }
        spawned.map(drop)
    }

    fn work(self: &Arc<Self>, token: &Sender<Infallible>) {
        sched::run_promptly();
        while let Some(stream) = self.accept() {
            // Relaxed: see `spawn`.
            let others = self.waiting.fetch_sub(1, Ordering::Relaxed) - 1;
            if others == 0 && self.alive.load(Ordering::Relaxed) < MAX_CONNECTIONS {
                // Without another one, clients wait in the backlog until a worker is done.
                if let Err(error) = self.spawn(token.clone()) {
                    tracing::warn!(%error, "cannot start another API thread");
                }
            }
            Connection::new(stream, self.stop.as_fd()).serve(&*self.control);
            let another = |waiting| (waiting < SPARE).then_some(waiting + 1);
            // Relaxed: see `spawn`.
            if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, another).is_err() {
                break;
            }
        }
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }

    /// The next connection; none when the server stops.
    fn accept(&self) -> Option<UnixStream> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                Err(_) if self.is_stopping() => return None,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR | Errno::CONNABORTED) => {}
                    // Out of descriptors or memory: the same would come back at once.
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        tracing::warn!(%error, "cannot accept an API connection");
                        self.pause_unless_stopped(Timespec { tv_sec: 0, tv_nsec: 100_000_000 });
                    }
                    _ => {
                        tracing::error!(%error, "the API socket is broken");
                        return None;
                    }
                },
            }
        }
    }
}
