//! Frames over encrypted connections: all of them, or an error.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use migration::tls::{TlsClient, TlsServer, TlsStream};
use migration::wire::{
    Compression, Connection, Frame, MAX_PAGES, Mark, Pages, Transport, WireError,
};
use proptest::prelude::*;

use crate::directories::{Authority, Directory};
use crate::handshake::{PATIENCE, shake};

fn ends() -> (TlsClient, TlsServer) {
    let directory = Directory::of(&Authority::new("ours"));
    (TlsClient::load(directory.path()).unwrap(), TlsServer::load(directory.path()).unwrap())
}

fn pair() -> (TlsStream<UnixStream>, TlsStream<UnixStream>) {
    let (client, server) = ends();
    let (here, there) = shake(&client, &server, "localhost");
    (here.unwrap(), there.unwrap())
}

#[test]
fn frames_go_both_ways_however_long_they_are() {
    let (here, there) = pair();
    let body: Vec<u8> = (0..MAX_PAGES * 4096).map(|at| (at % 251) as u8).collect();
    let pages = Pages { round: 1, first: 2, count: MAX_PAGES };
    thread::scope(|scope| {
        for (from, to) in [(here, there)] {
            let (mut from, mut to) =
                (Connection::new(from, PATIENCE), Connection::new(to, PATIENCE));
            let (body, rounds) = (&body, 0..8_u32);
            scope.spawn(move || {
                for round in rounds {
                    from.queue(&Frame::Data(pages, Compression::None, body)).unwrap();
                    from.queue(&Frame::Mark(Mark { round, is_last: false })).unwrap();
                    from.flush().unwrap();
                    // And back.
                    let frame = from.receive("a mark").unwrap();
                    assert_eq!(frame, Frame::Mark(Mark { round, is_last: true }));
                }
            });
            for round in 0..8 {
                assert_eq!(
                    to.receive("pages").unwrap(),
                    Frame::Data(pages, Compression::None, body)
                );
                let frame = to.receive("a mark").unwrap();
                assert_eq!(frame, Frame::Mark(Mark { round, is_last: false }));
                to.queue(&Frame::Mark(Mark { round, is_last: true })).unwrap();
                to.flush().unwrap();
            }
        }
    });
}

#[test]
fn a_handshake_that_was_not_waited_for_is_part_of_the_first_frame() {
    let (client, server) = ends();
    let (here, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            let mut there = Connection::new(server.accept(there, PATIENCE).unwrap(), PATIENCE);
            matches!(there.receive("a mark").unwrap(), Frame::Mark(Mark { round: 3, .. }))
        });
        let stream = client.connect(here, "localhost").unwrap();
        assert!(stream.peer().is_empty());
        let mut here = Connection::new(stream, PATIENCE);
        here.queue(&Frame::Mark(Mark { round: 3, is_last: false })).unwrap();
        here.flush().unwrap();
        assert!(accepted.join().unwrap());
    });
}

#[test]
fn a_reader_and_a_writer_are_interrupted_from_another_thread() {
    let (here, there) = pair();
    let (mut here, mut there) = (Connection::new(here, PATIENCE), Connection::new(there, PATIENCE));
    let (stop_reading, stop_writing) = (here.interrupter().unwrap(), there.interrupter().unwrap());
    let (begun, began) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let reader = scope.spawn(|| here.receive("a frame").map(drop));
        let writer = scope.spawn(|| {
            let zeros = vec![1; 256 << 12];
            let pages = Pages { round: 0, first: 0, count: 256 };
            begun.send(()).unwrap();
            loop {
                // Nobody reads so much.
                let queued = there.queue(&Frame::Data(pages, Compression::None, &zeros));
                if let Err(error) = queued.and_then(|()| there.flush()) {
                    return error;
                }
            }
        });
        began.recv().unwrap();
        stop_reading();
        stop_writing();
        // What had come before it was stopped may be a whole frame.
        if let Err(error) = reader.join().unwrap() {
            assert!(!matches!(error, WireError::TimedOut { .. }), "{error}");
        }
        let error = writer.join().unwrap();
        assert!(!matches!(error, WireError::TimedOut { .. }), "{error}");
    });
}

#[test]
fn who_takes_nothing_is_waited_for_until_the_deadline() {
    let (here, there) = pair();
    let mut here = Connection::new(here, Duration::from_millis(50));
    let zeros = vec![1; 256 << 12];
    let pages = Pages { round: 0, first: 0, count: 256 };
    let error = loop {
        let queued = here.queue(&Frame::Data(pages, Compression::None, &zeros));
        if let Err(error) = queued.and_then(|()| here.flush()) {
            break error;
        }
    };
    assert!(matches!(error, WireError::TimedOut { .. }), "{error}");
    drop(there);
}

/// A socket that breaks after so many bytes, of which one may arrive changed.
struct Frail {
    socket: UnixStream,
    left: usize,
    /// The byte that it changes, from here on.
    changes: Option<usize>,
    record: Record,
}

/// Where in a record of TLS a stream is.
#[derive(Default)]
struct Record {
    at: usize,
    len: usize,
}

/// The second byte of a record's version, which whoever reads has to ignore (RFC 8446, section 5.1): a change of it changes nothing.
const IGNORED: usize = 2;
const HEADER: usize = 5;

impl Record {
    /// The place of this byte, the next one, in its record.
    fn next(&mut self, byte: u8) -> usize {
        let at = self.at;
        match at {
            3 => self.len = usize::from(byte) << 8,
            4 => self.len |= usize::from(byte),
            _ => {}
        }
        self.at += 1;
        if self.at >= HEADER && self.at == HEADER + self.len {
            self.at = 0;
        }
        at
    }
}

impl Read for Frail {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into)
    }
}

impl Write for Frail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut part = bytes[..bytes.len().min(self.left)].to_vec();
        if part.is_empty() {
            drop(self.socket.shutdown(Shutdown::Both));
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for byte in &mut part {
            let place = self.record.next(*byte);
            self.changes = match self.changes {
                Some(0) if place == IGNORED => Some(0),
                Some(0) => {
                    *byte ^= 0x10;
                    None
                }
                changes => changes.map(|left| left - 1),
            };
        }
        self.socket.write_all(&part)?;
        self.left -= part.len();
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Frail {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.socket.set_timeout(timeout)
    }

    fn interrupter(&self) -> io::Result<migration::wire::Interrupter> {
        self.socket.interrupter()
    }
}

/// Sends frames over it; how many came whole, and whether there was an error.
fn carry(left: usize, changes: Option<usize>) -> (u32, bool) {
    // A length that was changed has both ends wait for each other; to give up is an error, too.
    let patience = PATIENCE / 12;
    let (client, server) = ends();
    let (socket, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let Ok(stream) = server.accept(there, patience) else { return (0, true) };
            let mut connection = Connection::new(stream, patience);
            for round in 0..20 {
                match connection.receive("a mark") {
                    Ok(Frame::Mark(mark)) => assert_eq!(mark.round, round),
                    Ok(other) => panic!("{other:?} was never sent"),
                    Err(_) => return (round, true),
                }
            }
            (20, false)
        });
        let stream = client
            .connect(Frail { socket, left, changes, record: Record::default() }, "localhost")
            .unwrap();
        let mut connection = Connection::new(stream, patience);
        for round in 0..20 {
            let mark = Frame::Mark(Mark { round, is_last: false });
            if connection.queue(&mark).and_then(|()| connection.flush()).is_err() {
                break;
            }
        }
        drop(connection);
        receiving.join().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cut_at_any_byte_is_an_error_and_no_frame_comes_in_part(left in 0_usize..3000) {
        let (whole, is_error) = carry(left, None);
        prop_assert_eq!(is_error, whole < 20);
    }

    #[test]
    fn a_byte_that_is_changed_on_the_way_is_an_error(at in 0_usize..1000) {
        let (whole, is_error) = carry(usize::MAX, Some(at));
        prop_assert!(is_error && whole < 20, "{} frames came", whole);
    }
}
