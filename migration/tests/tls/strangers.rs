//! Others who come to a port: plain text, garbage, silence, half a handshake.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use migration::tls::{TlsClient, TlsError, TlsServer};
use migration::wire::{Capabilities, Connection, Message, Session, WireError};
use proptest::prelude::*;

use crate::directories::{Authority, Directory};
use crate::handshake::PATIENCE;

fn hello() -> Message {
    Message::Hello {
        min_version: 1,
        max_version: 1,
        session: Session([7; 16]),
        capabilities: Capabilities::ALL,
        connections: 1,
    }
}

#[test]
fn a_source_without_tls_is_told_that_the_destination_demands_it() {
    let directory = Directory::of(&Authority::new("ours"));
    let server = TlsServer::load(directory.path()).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let accepted = scope.spawn(|| server.accept(there, PATIENCE).map(drop));
        let mut plain = Connection::new(here, PATIENCE);
        plain.send(hello()).unwrap();
        let told = plain.message("Welcome").unwrap_err().to_string();
        assert!(told.contains("it demands TLS; give this end a TLS directory, too"), "{told}");
        let error = accepted.join().unwrap().unwrap_err();
        assert!(matches!(error, TlsError::NoTls(_)), "{error}");
        assert!(error.to_string().contains("it needs a TLS directory, too"), "{error}");
    });
}

#[test]
fn a_destination_without_tls_tells_a_source_with_it() {
    let directory = Directory::of(&Authority::new("ours"));
    let client = TlsClient::load(directory.path()).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let plain = scope.spawn(|| {
            let mut plain = Connection::new(there, PATIENCE);
            let error = plain.message("Hello").unwrap_err();
            let reason = error.to_string().into();
            plain.send(Message::Refused { reason }).unwrap();
            error
        });
        let mut stream = client.connect(here, "localhost").unwrap();
        let error = stream.complete(PATIENCE).unwrap_err();
        assert!(matches!(error, TlsError::NoTls(_)), "{error}");
        let error = plain.join().unwrap();
        assert!(matches!(error, WireError::NotAFrame { .. }), "{error}");
        assert!(
            error.to_string().contains("both ends need a TLS directory, or neither"),
            "{error}"
        );
    });
}

#[test]
fn silence_ends_with_the_deadline_at_either_end() {
    let directory = Directory::of(&Authority::new("ours"));
    let (client, server) =
        (TlsClient::load(directory.path()).unwrap(), TlsServer::load(directory.path()).unwrap());
    let short = Duration::from_millis(50);
    let (here, _silent) = UnixStream::pair().unwrap();
    let error = client.connect(here, "localhost").unwrap().complete(short).unwrap_err();
    assert!(matches!(error, TlsError::TimedOut), "{error}");
    let (there, _silent) = UnixStream::pair().unwrap();
    let error = server.accept(there, short).unwrap_err();
    assert!(matches!(error, TlsError::TimedOut), "{error}");
}

/// Somebody who sends a byte now and then does not move the deadline.
#[test]
fn a_trickle_does_not_move_the_deadline() {
    let directory = Directory::of(&Authority::new("ours"));
    let server = TlsServer::load(directory.path()).unwrap();
    let (there, mut here) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let accepted = scope.spawn(|| server.accept(there, Duration::from_millis(300)).map(drop));
        // A long record of a handshake, which is incomplete until its last byte.
        let mut record = vec![0x16, 3, 1, 0x40, 0];
        record.extend([1, 0, 0x3f, 0xfc]);
        record.resize(16_000, 3);
        let mut bytes = record.iter();
        while !accepted.is_finished() {
            let mut one = [UnixStream::pair().unwrap().0];
            one[0].set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            // Waits for nothing, for so long.
            let _ = one[0].read(&mut [0]);
            let Some(byte) = bytes.next() else { break };
            if here.write_all(&[*byte]).is_err() {
                break;
            }
        }
        let error = accepted.join().unwrap().unwrap_err();
        assert!(matches!(error, TlsError::TimedOut), "{error}");
    });
}

/// What the source of a good handshake sends.
fn good_bytes() -> Vec<u8> {
    let directory = Directory::of(&Authority::new("ours"));
    let client = TlsClient::load(directory.path()).unwrap();
    let (here, mut there) = UnixStream::pair().unwrap();
    let mut stream = client.connect(here, "localhost").unwrap();
    let _ = stream.complete(Duration::from_millis(1)).unwrap_err();
    stream.socket().shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    there.read_to_end(&mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_before_or_inside_a_handshake_is_an_error_at_once(
        keeps in 0_usize..600,
        garbage in prop::collection::vec(any::<u8>(), 1..2000),
    ) {
        let directory = Directory::of(&Authority::new("ours"));
        let server = TlsServer::load(directory.path()).unwrap();
        let mut bytes = good_bytes();
        bytes.truncate(keeps);
        bytes.extend(garbage);
        let (there, here) = UnixStream::pair().unwrap();
        (&here).write_all(&bytes).unwrap();
        here.shutdown(Shutdown::Write).unwrap();
        let began = Instant::now();
        let accepted = server.accept(there, PATIENCE);
        prop_assert!(accepted.is_err());
        prop_assert!(began.elapsed() < PATIENCE, "it does not wait for what cannot come");
    }
}
