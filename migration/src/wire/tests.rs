//! Frames over connections that cut, delay, damage and lie, and pages that arrive as they were.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::memory::{DestinationMemory, PAGE_SIZE, SourceMemory};
use crate::testing::ModelMemory;

const PATIENCE: Duration = Duration::from_mins(1);

/// Bytes that come, a few at a time, and then the end.
struct Canned {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl Read for Canned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let len = rest.len().min(into.len()).min(self.step);
        into[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

impl Write for Canned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.step);
        self.bytes.extend(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Canned {
    fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        assert!(!timeout.is_zero());
        Ok(())
    }

    fn interrupter(&self) -> io::Result<Interrupter> {
        Ok(Box::new(|| ()))
    }
}

fn canned(bytes: Vec<u8>, step: usize) -> Connection<Canned> {
    Connection::new(Canned { bytes, at: 0, step }, PATIENCE)
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

fn frames() -> Vec<Frame<'static>> {
    let pages = Pages { round: 3, first: 7, count: 2 };
    vec![
        Frame::Message(Message::Commit),
        Frame::Message(Message::Ready { setup: 1 << 40 }),
        Frame::Data(pages, Compression::Lz4, b"packed"),
        Frame::Zeros(pages),
        Frame::Mark(Mark { round: u32::MAX, is_last: true }),
        Frame::State(b"state"),
    ]
}

#[test]
fn frames_arrive_as_they_were_sent_however_the_bytes_are_cut() {
    for step in [1, 2, 13, 4096] {
        let mut sender = canned(Vec::new(), step);
        for frame in &frames() {
            sender.queue(frame).unwrap();
        }
        sender.flush().unwrap();
        let mut receiver = canned(sender.transport.bytes, step);
        for frame in frames() {
            assert_eq!(receiver.receive("a frame").unwrap(), frame);
        }
        let end = receiver.receive("more").unwrap_err();
        assert!(matches!(end, WireError::Closed { waiting_for: "more" }), "{end}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_frame_is_noticed() {
    for frame in frames() {
        let bytes = encoded(&frame);
        for end in 0..bytes.len() {
            canned(bytes[..end].to_vec(), 99).receive("a frame").unwrap_err();
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            canned(damaged, 99).receive("a frame").unwrap_err();
        }
    }
}

#[test]
fn a_length_beyond_the_bound_is_an_error_before_anything_is_allocated() {
    let mut bytes = encoded(&Frame::State(b""));
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut connection = canned(bytes, 99);
    let error = connection.receive("a frame").unwrap_err();
    assert!(matches!(error, WireError::TooLong { bytes } if bytes == u64::from(u32::MAX)));
    assert_eq!(connection.input.capacity(), 0);
    let long = vec![0; MAX_PAYLOAD + 1];
    Frame::State(&long).encode(&mut Vec::new()).unwrap_err();
}

#[test]
fn a_peer_that_gives_up_is_heard_and_its_words_are_harmless() {
    let reason = Reason::from("no room\x1b[2J\n".repeat(1000));
    let bytes = encoded(&Frame::Message(Message::Refused { reason }));
    let error = canned(bytes, 99).message("Built").unwrap_err();
    let WireError::Peer { reason } = error else { panic!("{error}") };
    let text = reason.to_string();
    assert!(text.starts_with("no room?[2J?") && text.len() == 1000, "{text}");
}

#[test]
fn a_peer_that_says_nothing_or_takes_nothing_is_not_waited_for_beyond_the_deadline() {
    let (here, _there) = UnixStream::pair().unwrap();
    let mut connection = Connection::new(here, Duration::from_millis(5));
    let error = connection.receive("anything").unwrap_err();
    assert!(matches!(error, WireError::TimedOut { waiting_for: "anything" }), "{error}");
    let part = vec![0; 100_000];
    let error = loop {
        if let Err(error) = connection.queue(&Frame::State(&part)) {
            break error;
        }
    };
    assert!(matches!(error, WireError::TimedOut { .. }), "{error}");
}

/// A frame's deadline is the frame's: a byte now and then does not put it off.
#[test]
fn a_peer_that_sends_a_byte_at_a_time_cannot_hold_a_frame_open() {
    struct Drip;
    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            // Looks as if it came for ever: time passes, and a byte is there.
            let until = std::time::Instant::now() + Duration::from_millis(1);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            into[0] = match into.len() {
                12 => b'S',
                11 => b'M',
                10 => 5,
                6 => 15,
                _ => 0,
            };
            Ok(1)
        }
    }
    impl Write for Drip {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Transport for Drip {
        fn set_timeout(&mut self, _: Duration) -> io::Result<()> {
            Ok(())
        }
        fn interrupter(&self) -> io::Result<Interrupter> {
            Ok(Box::new(|| ()))
        }
    }
    let mut connection = Connection::new(Drip, Duration::from_millis(50));
    let error = connection.receive("a frame").unwrap_err();
    assert!(matches!(error, WireError::TimedOut { .. }), "{error}");
}

#[test]
fn an_interrupted_wait_ends() {
    let (here, _there) = UnixStream::pair().unwrap();
    let mut connection = Connection::new(here, PATIENCE);
    let interrupt = connection.interrupter().unwrap();
    let thread = std::thread::spawn(move || connection.receive("anything").unwrap_err());
    interrupt();
    let error = thread.join().unwrap();
    assert!(matches!(error, WireError::Closed { .. }), "{error}");
}

/// Sends all pages of a memory to another one.
fn copied(source: &ModelMemory, compression: Compression, round: u32) -> (ModelMemory, usize) {
    let mut connection = canned(Vec::new(), usize::MAX);
    let mut writer = PageWriter::new(compression);
    for run in SourceMemory::layout(source).all().pieces(MAX_PAGES) {
        writer.send(&mut connection, source, (round, run)).unwrap();
    }
    connection.flush().unwrap();
    let bytes = connection.transport.bytes;
    let len = bytes.len();
    let mut connection = canned(bytes, usize::MAX);
    let destination = ModelMemory::new(SourceMemory::layout(source));
    let mut unpacker = Unpacker::default();
    loop {
        match connection.receive("pages") {
            Ok(Frame::Data(pages, compression, body)) => {
                pages.write(&destination, (compression, body), &mut unpacker).unwrap();
            }
            Ok(Frame::Zeros(pages)) => pages.zero(&destination).unwrap(),
            Ok(other) => panic!("{other:?}"),
            Err(_) => return (destination, len),
        }
    }
}

#[test]
fn pages_are_the_same_at_the_other_end_and_zeros_cost_next_to_nothing() {
    let memory = ModelMemory::of_pages(600).unwrap();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        memory.zero(SourceMemory::layout(&memory).all()).unwrap();
        assert_eq!(copied(&memory, compression, 0).1, 0);
        assert!(copied(&memory, compression, 1).1 < 200);
        for page in [0, 5, 6, 300, 599] {
            memory.fill(page, page + 1);
        }
        for round in [0, 1] {
            let (copy, bytes) = copied(&memory, compression, round);
            assert_eq!(copy.words(), memory.words());
            assert!(bytes < 6 * PAGE_SIZE, "{bytes}");
        }
    }
}

#[test]
fn pages_that_pack_well_become_smaller() {
    let memory = ModelMemory::of_pages(10).unwrap();
    // Words that differ in a byte of eight.
    (0..10).for_each(|page| memory.fill(page, 1));
    let [plain, lz4, zstd] = [Compression::None, Compression::Lz4, Compression::Zstd]
        .map(|compression| copied(&memory, compression, 0).1);
    assert!(lz4 < plain / 2 && zstd < plain / 2, "{plain}, {lz4}, {zstd}");
}

#[test]
fn pages_that_lie_are_refused() {
    let memory = ModelMemory::of_pages(10).unwrap();
    let mut unpacker = Unpacker::default();
    let pages = |first, count| Pages { round: 0, first, count };
    let none = (Compression::None, &[0; PAGE_SIZE][..]);
    pages(9, 1).write(&memory, none, &mut unpacker).unwrap();
    pages(10, 1).write(&memory, none, &mut unpacker).unwrap_err();
    pages(9, 2).write(&memory, none, &mut unpacker).unwrap_err();
    pages(0, 0).zero(&memory).unwrap_err();
    pages(u64::MAX, 2).zero(&memory).unwrap_err();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        pages(0, 1).write(&memory, (compression, b"\xFF\xFF\xFF"), &mut unpacker).unwrap_err();
        pages(0, 1).write(&memory, (compression, b""), &mut unpacker).unwrap_err();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_frames_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..64), step in 1_usize..64) {
        let mut whole = encoded(&Frame::Mark(Mark { round: 0, is_last: false }));
        whole.extend(bytes);
        let mut connection = canned(whole, step);
        connection.receive("a frame").unwrap();
        // Ends: every frame takes a header at least.
        while connection.receive("a frame").is_ok() {}
    }
}
