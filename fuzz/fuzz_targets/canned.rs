//! The other end of a connection, as bytes that somebody made up before.
use std::io::{self, Read, Write};
use std::time::Duration;

use migration::wire::{Interrupter, Transport};

/// Bytes that are there already, and then nothing.
pub struct Canned(pub io::Cursor<Vec<u8>>);

impl Read for Canned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
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
    fn set_timeout(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        Ok(Box::new(|| ()))
    }
}
