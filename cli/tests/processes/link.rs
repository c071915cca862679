//! A link between two processes that somebody can cut, hold up and slow down, counted in bytes.
//!
//! ```text
//!   source ──▶ listener at `path` ──▶ a pair of threads for each connection ──▶ destination's socket
//!                                     count what goes on in their direction; at the fault's byte: cut, or held up
//! ```
//! A cut shuts down every connection of the link, in both directions at once.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::rest;

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It ends when so many bytes have gone to the destination.
    Cut {
        after: u64,
    },
    /// It ends when so many bytes have come from there.
    CutBack {
        after: u64,
    },
    /// Nothing goes on for a while when so many bytes have gone to the destination; then it goes on, or ends.
    Stall {
        after: u64,
        ms: u64,
        cuts: bool,
    },
    /// It ends when the commit has come from the source, before any of it has gone on.
    Commit,
    /// It ends when the commit has gone on to the destination, before the answer comes.
    Answer,
    /// So many bytes a second go to the destination.
    Slow {
        bytes: u64,
    },
}

/// How the frame of a message without contents begins (`docs/migration.md`); the source's only one is the commit, which it sends alone.
const BARE_MESSAGE: &[u8] = b"SM\x01\0\x01\0\0\0";
/// Bytes of it.
const COMMIT: usize = 13;

/// How long a read waits before it looks whether the link is cut.
const GLANCE: Duration = Duration::from_millis(10);

struct State {
    fault: Fault,
    is_cut: AtomicBool,
    /// Nothing goes back any more.
    is_deaf: AtomicBool,
    /// Bytes until the fault, in its direction.
    left: AtomicI64,
    forth: AtomicU64,
    back: AtomicU64,
}

/// The link. Dropping it ends it.
pub struct Link {
    path: PathBuf,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

impl Link {
    /// Listens at `path` for the source; the destination listens at `to` when that connects.
    pub fn new(path: &Path, to: &Path, fault: Fault) -> Self {
        let left = match fault {
            Fault::Cut { after } | Fault::CutBack { after } | Fault::Stall { after, .. } => after,
            Fault::None | Fault::Commit | Fault::Answer | Fault::Slow { .. } => u64::MAX >> 1,
        };
        let state = Arc::new(State {
            fault,
            is_cut: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
            left: AtomicI64::new(left.cast_signed()),
            forth: AtomicU64::new(0),
            back: AtomicU64::new(0),
        });
        let listener = UnixListener::bind(path).expect("link");
        let (shared, to) = (Arc::clone(&state), to.to_owned());
        let listener = std::thread::spawn(move || shared.serve(&listener, &to));
        Self { path: path.to_owned(), state, listener: Some(listener) }
    }

    /// Bytes that have gone to the destination, and come from there.
    pub fn bytes(&self) -> (u64, u64) {
        (self.state.forth.load(Ordering::Relaxed), self.state.back.load(Ordering::Relaxed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.is_cut.store(true, Ordering::Relaxed);
        // Wakes who waits for a connection.
        let _ = UnixStream::connect(&self.path);
        let ended = self.listener.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()), "the link has panicked");
    }
}

impl State {
    fn serve(&self, listener: &UnixListener, to: &Path) {
        std::thread::scope(|scope| {
            for here in listener.incoming() {
                if self.is_cut() {
                    return;
                }
                let here = here.expect("a connection");
                // A destination that is gone is a link that ends.
                let Ok(there) = UnixStream::connect(to) else { continue };
                for stream in [&here, &there] {
                    stream.set_read_timeout(Some(GLANCE)).expect("set");
                    stream.set_write_timeout(Some(GLANCE)).expect("set");
                }
                let streams = Arc::new((here, there));
                let other = Arc::clone(&streams);
                scope.spawn(move || self.carry(&streams.0, &streams.1, true));
                scope.spawn(move || self.carry(&other.1, &other.0, false));
            }
        });
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    fn carry(&self, mut from: &UnixStream, to: &UnixStream, is_forth: bool) {
        let counts = match self.fault {
            Fault::CutBack { .. } => !is_forth,
            _ => is_forth,
        };
        let mut piece = vec![0; 1 << 15];
        while !self.is_cut() {
            let read = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if is_glance(&error) => continue,
                Err(_) => break,
            };
            let bytes = &piece[..read];
            let length = i64::try_from(read).expect("small");
            let left =
                if counts { self.left.fetch_sub(length, Ordering::Relaxed) } else { i64::MAX };
            let is_there = left >= 0 && left < length;
            let before = if left < 0 && self.ends() {
                0
            } else if is_there {
                usize::try_from(left).expect("not negative")
            } else {
                read
            };
            let is_commit = is_forth && read == COMMIT && bytes.starts_with(BARE_MESSAGE);
            if is_commit && self.fault == Fault::Commit {
                self.is_cut.store(true, Ordering::Relaxed);
                break;
            }
            if is_commit && self.fault == Fault::Answer {
                // Before the destination can have it.
                self.is_deaf.store(true, Ordering::Release);
            }
            if !is_forth && self.is_deaf.load(Ordering::Acquire) {
                break;
            }
            if !self.write(to, &bytes[..before], is_forth) {
                break;
            }
            if is_commit && self.fault == Fault::Answer {
                self.is_cut.store(true, Ordering::Relaxed);
                break;
            }
            if is_there && !self.fails() {
                break;
            }
            if !self.write(to, &bytes[before..], is_forth) {
                break;
            }
            if let Fault::Slow { bytes } = self.fault
                && is_forth
            {
                rest(Duration::from_nanos(read as u64 * 1_000_000_000 / bytes));
            }
        }
        // Either may be gone.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Whether nothing goes on behind the fault.
    fn ends(&self) -> bool {
        matches!(self.fault, Fault::Cut { .. } | Fault::CutBack { .. })
    }

    /// The fault's byte has come; whether the link goes on.
    fn fails(&self) -> bool {
        let goes_on = match self.fault {
            Fault::Stall { ms, cuts, .. } => {
                rest(Duration::from_millis(ms));
                !cuts
            }
            Fault::Cut { .. } | Fault::CutBack { .. } => false,
            Fault::None | Fault::Commit | Fault::Answer | Fault::Slow { .. } => true,
        };
        if !goes_on {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        goes_on
    }

    fn write(&self, mut to: &UnixStream, mut bytes: &[u8], is_forth: bool) -> bool {
        let carried = if is_forth { &self.forth } else { &self.back };
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(written) => {
                    carried.fetch_add(written as u64, Ordering::Relaxed);
                    bytes = &bytes[written..];
                }
                Err(error) if is_glance(&error) && !self.is_cut() => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn is_glance(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
