//! A connection to the API: four bytes that say how the rest is cut into pieces, then what a
//! client sends.
//!
//! No bytes panic or stop the server; every answer is an HTTP response with a documented status;
//! the VMM is asked for nothing that has no answer; and the pieces in which requests come make no
//! difference (which is also what keeps a body from being taken for a request).
//!
//! The connection is a pair of SEQPACKET sockets: what is sent in one piece is read in one piece.
#![no_main]
#[allow(dead_code, reason = "some of it is for the tests only")]
#[path = "../../vmm/tests/support/fake.rs"]
mod fake;

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use fake::FakeVmm;
use libfuzzer_sys::fuzz_target;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vmm::api::serve_connection;
use vmm::config::VmConfig;

/// The longest input: its answers fit the socket's buffer, so nobody waits for a reader.
const MAX_INPUT: usize = 2048;

/// The most pieces but one: they are all sent before any is read, and each takes about 1 KiB of the
/// socket's buffer, whatever is in it.
const MAX_PIECES: usize = 100;

/// The status codes of the API. 500 is what a panic or an error of the VMM gives; here neither is.
const STATUSES: [u16; 12] = [200, 204, 400, 404, 405, 409, 413, 417, 431, 501, 505, 100];

/// What a connection comes to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Status and body of each answer, without invitations to send a body.
    answers: Vec<(u16, Vec<u8>)>,
    /// How often the VMM was asked for something.
    calls: u64,
    config: Option<VmConfig>,
}

fn exchange<'a>(pieces: impl Iterator<Item = &'a [u8]>, stop: &OwnedFd) -> Outcome {
    let flags = SocketFlags::CLOEXEC;
    let (server, client) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .expect("a pair of sockets");
    let (server, mut client) = (UnixStream::from(server), UnixStream::from(client));
    for piece in pieces {
        client.write_all(piece).expect("room for what is sent");
    }
    client.shutdown(std::net::Shutdown::Write).expect("shut down");
    let vmm = FakeVmm::default();
    serve_connection(server, stop.as_fd(), &vmm);
    let mut wire = Vec::new();
    let mut packet = [0; 65536];
    loop {
        match client.read(&mut packet) {
            Ok(0) => break,
            Ok(length) => wire.extend_from_slice(&packet[..length]),
            // Told once, before what was sent: closed with bytes that nobody read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
    }
    Outcome { answers: answers(&wire), config: vmm.config(), calls: vmm.calls.into_inner() }
}

fn answers(mut wire: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut answers = Vec::new();
    while !wire.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(wire).expect("an HTTP response");
        let httparse::Status::Complete(head) = parsed else { panic!("half a response") };
        let status = response.code.expect("a status");
        assert!(STATUSES.contains(&status), "{status}");
        let length = response
            .headers
            .iter()
            .find(|field| field.name == "Content-Length")
            .map_or(0, |field| std::str::from_utf8(field.value).unwrap().parse().unwrap());
        let (body, rest) = wire[head..].split_at(length);
        if status != 100 {
            answers.push((status, body.to_vec()));
        }
        wire = rest;
    }
    answers
}

/// Cuts `bytes` into pieces of the given lengths, over and over; what is left after [`MAX_PIECES`]
/// is the last one.
fn cut<'a>(bytes: &'a [u8], lengths: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle().take(MAX_PIECES);
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(usize::MAX, |length| 1 + usize::from(*length % 32));
        let (piece, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

thread_local! {
    static STOP: RefCell<Option<OwnedFd>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    let Some((lengths, bytes)) = input.split_at_checked(4) else { return };
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];
    STOP.with_borrow_mut(|stop| {
        let stop =
            stop.get_or_insert_with(|| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
        let whole = exchange(bytes.chunks(MAX_INPUT), stop);
        assert!(whole.calls <= whole.answers.len() as u64, "{whole:?}");
        let pieces = exchange(cut(bytes, lengths), stop);
        assert_eq!(whole, pieces);
    });
});
