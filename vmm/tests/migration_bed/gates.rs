//! A way between a source and a destination whose connections of pages can be held, and cut.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::embedded::until;

/// What the test may do to a migration's connections, of which the second carries requests, the third urgent pages and the fourth all others.
#[derive(Default)]
pub struct Gates {
    /// Urgent pages do not pass.
    pub hold_urgent: AtomicBool,
    /// Nor do others; what says that no round follows does.
    pub hold_others: AtomicBool,
    is_cut: AtomicBool,
    /// Bytes of requests.
    pub requests: AtomicU64,
}

/// More than joins and marks take, less than any page.
const TALK: usize = 256;

impl Gates {
    /// Listens at `path` for a migration with four connections.
    pub fn open(path: &Path, to: &str) -> (Arc<Self>, JoinHandle<()>) {
        let gates = Arc::new(Self::default());
        gates.hold_others.store(true, Ordering::Relaxed);
        let listener = UnixListener::bind(path).unwrap();
        let to = to.strip_prefix("unix:").unwrap().to_owned();
        let all = Arc::clone(&gates);
        let carrier = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for index in 0..4 {
                    let (here, _) = listener.accept().unwrap();
                    let there = UnixStream::connect(&to).unwrap();
                    let ends = [here.try_clone().unwrap(), there.try_clone().unwrap()];
                    scope.spawn({
                        let all = &all;
                        move || all.carry(index, here, there)
                    });
                    let [here, there] = ends;
                    let all = &all;
                    scope.spawn(move || all.carry_back(index, there, here));
                }
            });
        });
        (gates, carrier)
    }

    /// Everything passes.
    pub fn open_all(&self) {
        self.hold_urgent.store(false, Ordering::Relaxed);
        self.hold_others.store(false, Ordering::Relaxed);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    fn carry(&self, index: usize, mut from: UnixStream, mut to: UnixStream) {
        let mut piece = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            let hold = match index {
                2 => Some(&self.hold_urgent),
                3 if read > TALK => Some(&self.hold_others),
                _ => None,
            };
            let is_free = || {
                let is_held = hold.is_some_and(|hold| hold.load(Ordering::Relaxed));
                !is_held || self.is_cut.load(Ordering::Relaxed)
            };
            until("the gate", is_free, String::new);
            if self.is_cut.load(Ordering::Relaxed) || to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn carry_back(&self, index: usize, mut from: UnixStream, mut to: UnixStream) {
        let mut piece = vec![0; 1 << 12];
        from.set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
        loop {
            let read = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                Err(_) => break,
            };
            if index == 1 {
                self.requests.fetch_add(read as u64, Ordering::Relaxed);
            }
            if self.is_cut.load(Ordering::Relaxed) || to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
