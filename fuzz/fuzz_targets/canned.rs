//! The other end of a connection, as bytes that somebody made up before.
//!
//! Behind them the connection is closed, or nothing comes any more: then a read lasts as long as it may.
use std::io::{self, Read, Write};
use std::time::Duration;

use migration::wire::{Interrupter, Transport};

/// What is behind the bytes.
#[derive(Clone, Copy)]
pub enum End {
    Closed,
    Silent,
}

impl End {
    /// One input in 64 is followed by silence: it takes time.
    pub fn of(byte: u8) -> Self {
        if byte % 64 == 63 { Self::Silent } else { Self::Closed }
    }

    /// How long to wait for a frame. In silence all of it is waited.
    pub fn patience(self) -> Duration {
        match self {
            Self::Closed => Duration::from_secs(2),
            Self::Silent => Duration::from_millis(1),
        }
    }
}

/// Bytes that are there already, and then nothing.
pub struct Canned {
    bytes: io::Cursor<Vec<u8>>,
    end: End,
    timeout: Duration,
}

impl Canned {
    pub fn new(bytes: Vec<u8>, end: End) -> Self {
        Self { bytes: io::Cursor::new(bytes), end, timeout: Duration::ZERO }
    }
}

impl Read for Canned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match (self.bytes.read(into)?, self.end) {
            (0, End::Silent) if !into.is_empty() => {
                std::thread::sleep(self.timeout);
                Err(io::ErrorKind::WouldBlock.into())
            }
            (read, _) => Ok(read),
        }
    }
}

impl Write for Canned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Canned {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.timeout = timeout;
        Ok(())
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        Ok(Box::new(|| ()))
    }
}
