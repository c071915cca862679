//! A connection that is encrypted.
//!
//! ```text
//!   source:       Shaking ──handshake done──▶ Judged ──VERIFIED comes──▶ Open
//!   destination:  Shaking ──handshake done──▶ Telling ──VERIFIED is sent──▶ Open
//! ```
//!
//! Invariants:
//! - Nothing is read or written for its user before it is open.
//! - A read or write goes to the socket at most once, so that whoever has a deadline can look at the clock in between.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustls::Connection;

use super::error::TlsError;
use crate::wire::{Interrupter, Transport};

/// What is read from the socket, and gathered for it, at once.
const BUFFER: usize = 256 << 10;
/// What a destination sends first: the source's certificate was verified.
const VERIFIED: u8 = b'S';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Certificates are shown and verified.
    Shaking,
    /// The destination looks at the source's.
    Judged,
    /// The source is told that it was verified.
    Telling,
    Open,
}

/// An encrypted connection of two ends that verify each other's certificates.
#[derive(Debug)]
pub struct TlsStream<S> {
    connection: Connection,
    socket: BufReader<S>,
    stage: Stage,
}

impl<S: Transport> TlsStream<S> {
    pub(super) fn new(mut connection: Connection, socket: S) -> Self {
        connection.set_buffer_limit(Some(BUFFER));
        let socket = BufReader::with_capacity(BUFFER, socket);
        Self { connection, socket, stage: Stage::Shaking }
    }

    /// What the bytes go through.
    pub fn socket(&self) -> &S {
        self.socket.get_ref()
    }

    /// The other end's certificate, as DER; empty before the handshake.
    pub fn peer(&self) -> &[u8] {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        chain.first().map_or(&[], |certificate| certificate.as_ref())
    }

    /// Shakes hands, unless that is done.
    ///
    /// # Errors
    /// An end does not accept the other, or not in time.
    pub fn complete(&mut self, patience: Duration) -> Result<(), TlsError> {
        let deadline = Instant::now() + patience;
        while self.stage != Stage::Open {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TlsError::TimedOut);
            }
            self.set_timeout(left)?;
            self.advance()?;
        }
        Ok(())
    }

    /// One step towards being open.
    fn advance(&mut self) -> Result<(), TlsError> {
        match self.stage {
            Stage::Shaking if self.connection.is_handshaking() || self.connection.wants_write() => {
                self.exchange()
            }
            Stage::Shaking => {
                self.stage = match &mut self.connection {
                    Connection::Client(_) => Stage::Judged,
                    Connection::Server(server) => {
                        server.writer().write_all(&[VERIFIED])?;
                        Stage::Telling
                    }
                };
                Ok(())
            }
            Stage::Telling if self.connection.wants_write() => self.exchange(),
            Stage::Judged => match self.verdict()? {
                Some(VERIFIED) => {
                    self.stage = Stage::Open;
                    Ok(())
                }
                Some(_) => Err(TlsError::NoMigration),
                None => self.exchange(),
            },
            Stage::Telling | Stage::Open => {
                self.stage = Stage::Open;
                Ok(())
            }
        }
    }

    fn verdict(&mut self) -> Result<Option<u8>, TlsError> {
        let mut byte = [0];
        match self.connection.reader().read(&mut byte) {
            Ok(0) => Err(TlsError::Closed),
            Ok(_) => Ok(Some(byte[0])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(TlsError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what there is to be sent, or else takes what comes.
    fn exchange(&mut self) -> Result<(), TlsError> {
        if self.connection.wants_write() {
            return match self.connection.write_tls(self.socket.get_mut()) {
                Ok(0) => Err(TlsError::Closed),
                Ok(_) => Ok(()),
                Err(error) => again(error),
            };
        }
        match self.connection.read_tls(&mut self.socket) {
            Ok(0) => return Err(TlsError::Closed),
            Ok(_) => {}
            Err(error) => return again(error),
        }
        let processed = self.connection.process_new_packets();
        processed.map(drop).map_err(|error| {
            // The other end is told why, if it still listens.
            let _ = self.connection.write_tls(self.socket.get_mut());
            TlsError::handshake(&error)
        })
    }

    /// Whether it is open. If not, it is one step nearer to it.
    fn open(&mut self) -> io::Result<()> {
        if self.stage == Stage::Open {
            return Ok(());
        }
        self.advance().map_err(io::Error::other)?;
        // Whoever waits for it looks at the clock first.
        if self.stage == Stage::Open { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    /// Decrypts some of what has come; none of it may be for the reader.
    fn take_in(&mut self) -> io::Result<()> {
        if self.connection.read_tls(&mut self.socket)? == 0 {
            return Ok(());
        }
        let processed = self.connection.process_new_packets();
        processed.map(drop).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }
}

/// Nothing has happened, and the clock is looked at before it is tried again.
fn again(error: io::Error) -> Result<(), TlsError> {
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Err(TlsError::Closed),
        _ => Err(error.into()),
    }
}

impl<S: Transport> Read for TlsStream<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.open()?;
        let (mut filled, mut has_waited) = (0, false);
        while filled < into.len() {
            let rest = into.get_mut(filled..).unwrap_or_default();
            match self.connection.reader().read(rest) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Who ends a migration says so in a frame: an end is an end, with a farewell or without.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            if self.socket.buffer().is_empty() {
                if filled > 0 {
                    break;
                }
                if std::mem::replace(&mut has_waited, true) {
                    return Err(ErrorKind::WouldBlock.into());
                }
            }
            self.take_in()?;
        }
        Ok(filled)
    }
}

impl<S: Transport> Write for TlsStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.connection.writer().write(bytes)?;
        // They are taken, whatever becomes of them: what is wrong shows in the next write.
        let _ = self.flush();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?;
        if self.connection.wants_write() && self.connection.write_tls(self.socket.get_mut())? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        if self.connection.wants_write() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.socket.get_mut().set_timeout(timeout)
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        self.socket.get_ref().interrupter()
    }
}
