//! Somebody at the other end of a serial port: a socket or a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::HANG;

/// Reads what the guest prints and presses keys.
pub struct Screen {
    end: File,
    seen: String,
}

impl Screen {
    /// As the client of a console socket.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        Self::new(OwnedFd::from(stream))
    }

    /// At a pseudo-terminal.
    pub fn open(pty: &Path) -> Self {
        let end = File::options().read(true).write(true).open(pty).unwrap();
        Self::new(OwnedFd::from(end))
    }

    fn new(end: OwnedFd) -> Self {
        Self { end: File::from(end), seen: String::new() }
    }

    pub fn press(&mut self, key: u8) {
        self.end.write_all(&[key]).unwrap();
    }

    /// Reads until `text` has come, and forgets what came up to its end.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let limit = Timespec { tv_sec: HANG.as_secs().cast_signed(), tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&limit)).unwrap();
            assert!(ready > 0, "waited in vain for {text:?} after {:?}", self.seen);
            let mut piece = [0; 1024];
            let length = self.end.read(&mut piece).unwrap();
            assert!(length > 0, "the console closed before {text:?}, after {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }
}
