//! Several threads at one port.
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;

/// Long enough that only a wake-up that was lost takes longer.
const LOST: Duration = Duration::from_secs(30);

struct Wires {
    room: Sender<()>,
    sent: Sender<u8>,
}

impl Interrupt for Sender<()> {
    fn raise(&self) {
        // After the test, nobody listens.
        let _ = self.send(());
    }
}

impl ConsoleOutput for Wires {
    fn send(&self, byte: u8) {
        self.sent.send(byte).unwrap();
    }
    fn input_has_room(&self) {
        let _ = self.room.send(());
    }
}

fn wired() -> (Serial, Receiver<()>, Receiver<()>, Receiver<u8>) {
    let (interrupts, interrupted) = channel();
    let (room, has_room) = channel();
    let (sent, was_sent) = channel();
    let wires = Wires { room, sent };
    (Serial::new(Box::new(interrupts), Arc::new(wires)), interrupted, has_room, was_sent)
}

/// A stream of bytes whose period is no power of two.
fn stream() -> impl Iterator<Item = u8> {
    (0..251_u8).cycle()
}

/// Offers all of `bytes`, waiting for room when there is none.
fn feed(serial: &Serial, has_room: &mut Receiver<()>, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[serial.offer(rest)..];
        if !rest.is_empty() {
            has_room.recv_timeout(LOST).expect("a wake-up for room was lost");
        }
    }
}

/// An interrupt-driven guest on one thread, the host's input on another: nothing is lost or
/// doubled, with and without FIFOs, and neither waits for ever.
#[test]
fn input_by_interrupt() {
    for (fcr, total) in [(0x81, 100_000), (0xC1, 100_000), (0x00, 20_000)] {
        let (serial, interrupted, mut has_room, _sent) = wired();
        set(&serial, 2, fcr);
        set(&serial, 1, 0x05);
        let bytes: Vec<u8> = stream().take(total).collect();
        std::thread::scope(|scope| {
            let (serial, bytes) = (&serial, &bytes);
            scope.spawn(move || feed(serial, &mut has_room, bytes));
            let mut received = Vec::new();
            while received.len() < total {
                interrupted.recv_timeout(LOST).expect("an interrupt was lost");
                while get(serial, 2) & 1 == 0 {
                    while get(serial, 5) & 1 != 0 {
                        received.push(get(serial, 0));
                    }
                }
            }
            assert!(received == *bytes);
        });
    }
}

/// Two vCPUs poll the same port while input comes: each byte reaches exactly one of them.
#[test]
fn two_readers_share_the_input() {
    const TOTAL: usize = 60_000;
    let (serial, _interrupted, mut has_room, _sent) = wired();
    set(&serial, 2, 0x01);
    let bytes: Vec<u8> = (0..=127).cycle().take(TOTAL).collect();
    let taken = AtomicU64::new(0);
    let all: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let (serial, bytes) = (&serial, &bytes);
        scope.spawn(move || feed(serial, &mut has_room, bytes));
        let reader = || {
            let mut mine = Vec::new();
            while taken.load(Ordering::Relaxed) < TOTAL as u64 {
                // The register's own value does not tell "no byte" from byte 0.
                if let Reply::FirstReceived = serial.apply(Event::Read(0)) {
                    mine.push(serial.received.pop().expect("a byte that is counted is there"));
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::yield_now();
            }
            mine
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        readers.map(|thread| thread.join().unwrap()).into_iter().collect()
    });
    let mut counts = [0_usize; 128];
    all.into_iter().flatten().for_each(|byte| counts[usize::from(byte)] += 1);
    let expected = std::array::from_fn(|byte| TOTAL / 128 + usize::from(byte < TOTAL % 128));
    assert_eq!(counts, expected);
}

/// Two vCPUs send, one clears FIFOs and switches loopback: every byte that was not looped goes
/// out, in each one's order, and input goes on afterwards.
#[test]
fn output_from_two_vcpus_while_modes_change() {
    const EACH: usize = 20_000;
    let (serial, _interrupted, has_room, sent) = wired();
    set(&serial, 2, 0x01);
    std::thread::scope(|scope| {
        for id in 0..2_u8 {
            let serial = &serial;
            scope.spawn(move || {
                for sequence in (0..128_u8).cycle().take(EACH) {
                    set(serial, 0, id << 7 | sequence);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..5_000 {
                serial.offer(b"noise");
                set(&serial, 2, 0x03);
                set(&serial, 7, 0x55);
            }
        });
    });
    let mut next = [0_u8; 2];
    for byte in sent.try_iter() {
        let expected = &mut next[usize::from(byte >> 7)];
        assert_eq!(byte & 0x7F, *expected);
        *expected = (*expected + 1) & 0x7F;
    }
    let end = u8::try_from(EACH % 128).unwrap();
    assert_eq!(next, [end; 2]);

    set(&serial, 2, 0x03);
    while has_room.try_recv().is_ok() {}
    assert_eq!(serial.offer(b"after"), 5);
    assert_eq!([0; 5].map(|_: u8| get(&serial, 0)), *b"after");
}
