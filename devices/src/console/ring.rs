//! A bounded ring of bytes from many producers, none of which ever waits, to one consumer.
//!
//! ```text
//!        head ──▶ ┌───┬───┬───┬───┬───┐ ◀── tail
//!   consumer      │ F │ F │ – │ F │ – │      producers
//!                 └───┴───┴───┴───┴───┘
//!   F: full, – : reserved by a producer that has not stored its byte yet, or free
//! ```
//!
//! A producer reserves places from `tail` on by compare-and-swap, then stores its bytes with the
//! [`FULL`] mark. The consumer takes full places from `head` on, clears each, then moves `head`.
//! A place that is reserved but not full ends what the consumer can see for now.
//!
//! Invariants:
//! - `head ≤ tail ≤ head + capacity`; both only grow.
//! - Places outside `head..tail` are clear.
//! - A producer makes progress whatever the others do: it depends on none of them, nor on the
//!   consumer. (This is why `crossbeam_queue::ArrayQueue` is not used: there, a `push` into
//!   an almost full queue spins until a consumer that was preempted in the middle of `pop` runs
//!   again, and each byte takes 16.)
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Marks a place that holds a byte.
const FULL: u16 = 0x100;

struct Ring {
    places: Box<[AtomicU16]>,
    head: CachePadded<AtomicU64>,
    tail: CachePadded<AtomicU64>,
}

/// The end that bytes go in at.
pub(super) struct Producer {
    ring: Arc<Ring>,
}

/// The end that bytes come out at.
pub(super) struct Consumer {
    ring: Arc<Ring>,
}

/// A ring for `2^order` bytes.
pub(super) fn ring(order: u32) -> (Producer, Consumer) {
    let zero = || CachePadded::new(AtomicU64::new(0));
    let places = (0..1_usize << order).map(|_| AtomicU16::new(0)).collect();
    let ring = Arc::new(Ring { places, head: zero(), tail: zero() });
    (Producer { ring: Arc::clone(&ring) }, Consumer { ring })
}

impl Ring {
    fn place(&self, position: u64) -> &AtomicU16 {
        let mask = self.places.len() as u64 - 1;
        // The mask leaves an index into `places`.
        &self.places[usize::try_from(position & mask).unwrap_or_default()]
    }
}

impl Producer {
    /// Puts as many of the first bytes in as there is room for, next to each other, and tells how many.
    pub(super) fn push_all(&self, bytes: &[u8]) -> usize {
        let ring = &*self.ring;
        let capacity = ring.places.len() as u64;
        let mut tail = ring.tail.load(Ordering::Relaxed);
        let bytes = loop {
            // Acquire pairs with the consumer's release of `head`: places below it are clear
            // before this thread stores into them again.
            let head = ring.head.load(Ordering::Acquire);
            // `tail` may be older than `head`; then the exchange below fails and reloads it.
            let room = capacity.saturating_sub(tail.saturating_sub(head));
            let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
            if bytes.is_empty() {
                return 0;
            }
            // Relaxed: the bytes are published by their places, not by `tail`.
            match ring.tail.compare_exchange_weak(
                tail,
                tail + bytes.len() as u64,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break bytes,
                Err(seen) => tail = seen,
            }
        };
        for (position, byte) in (tail..).zip(bytes) {
            // Release pairs with the consumer's acquire of the place.
            ring.place(position).store(FULL | u16::from(*byte), Ordering::Release);
        }
        bytes.len()
    }
}

impl Consumer {
    /// Moves at most `limit` bytes to the end of `out`.
    pub(super) fn take_into(&mut self, out: &mut Vec<u8>, limit: usize) {
        let ring = &*self.ring;
        let mut head = ring.head.load(Ordering::Relaxed);
        for _ in 0..limit {
            let place = ring.place(head);
            // Acquire pairs with the producer's release of the place.
            let [byte, full] = place.load(Ordering::Acquire).to_le_bytes();
            if full == 0 {
                break;
            }
            out.push(byte);
            place.store(0, Ordering::Relaxed);
            head += 1;
        }
        // Release pairs with the producers' acquire of `head`.
        ring.head.store(head, Ordering::Release);
    }

    /// Whether there is nothing to take now.
    pub(super) fn is_empty(&self) -> bool {
        let head = self.ring.head.load(Ordering::Relaxed);
        self.ring.place(head).load(Ordering::Acquire) & FULL == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(producer: &Producer, byte: u8) -> bool {
        producer.push_all(&[byte]) == 1
    }

    fn take(consumer: &mut Consumer, limit: usize) -> Vec<u8> {
        let mut out = Vec::new();
        consumer.take_into(&mut out, limit);
        out
    }

    #[test]
    fn full_empty_and_around() {
        let (producer, mut consumer) = ring(2);
        for round in 0..10 {
            assert!(consumer.is_empty());
            for byte in 0..4 {
                assert!(push(&producer, round + byte));
            }
            assert!(!push(&producer, 99), "a fifth byte does not fit");
            assert_eq!(take(&mut consumer, 1), [round]);
            assert!(push(&producer, round + 4));
            assert_eq!(take(&mut consumer, 9), [round + 1, round + 2, round + 3, round + 4]);
        }
        assert_eq!(producer.ring.tail.load(Ordering::Relaxed), 50);
    }

    #[test]
    fn several_at_once_as_far_as_there_is_room() {
        let (producer, mut consumer) = ring(2);
        assert_eq!(producer.push_all(&[]), 0);
        assert_eq!(producer.push_all(&[1, 2, 3]), 3);
        assert_eq!(take(&mut consumer, 2), [1, 2]);
        assert_eq!(producer.push_all(&[4, 5, 6, 7]), 3, "around the end, until it is full");
        assert_eq!(producer.push_all(&[8]), 0);
        assert_eq!(take(&mut consumer, 9), [3, 4, 5, 6]);
    }

    #[test]
    fn a_reserved_place_ends_what_is_seen() {
        let (producer, mut consumer) = ring(2);
        // A producer that reserves and then does not run.
        producer.ring.tail.fetch_add(1, Ordering::Relaxed);
        assert!(push(&producer, 2));
        assert!(consumer.is_empty());
        assert_eq!(take(&mut consumer, 4), []);
        producer.ring.place(0).store(FULL | 1, Ordering::Release);
        assert_eq!(take(&mut consumer, 4), [1, 2]);
    }

    /// Each producer's bytes arrive in its order, none twice, and what is refused is known.
    #[test]
    fn many_producers_through_a_small_ring() {
        const EACH: u64 = 30_000;
        let (producer, mut consumer) = ring(4);
        let producer = &producer;
        let mut received = [Vec::new(), Vec::new(), Vec::new()];
        let accepted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3u8)
                .map(|id| {
                    scope.spawn(move || {
                        let mut sequence = 0;
                        for _ in 0..EACH {
                            // Six bits of a sequence number count what was accepted.
                            let next = |n| id << 6 | (sequence + n) & 0x3F;
                            let accepted = producer.push_all(&[next(0), next(1), next(2)]);
                            sequence = next(u8::try_from(accepted).unwrap()) & 0x3F;
                        }
                    })
                })
                .collect();
            loop {
                let done = threads.iter().all(std::thread::ScopedJoinHandle::is_finished);
                for byte in take(&mut consumer, 16) {
                    received[usize::from(byte >> 6)].push(byte & 0x3F);
                }
                if done && consumer.is_empty() {
                    break producer.ring.tail.load(Ordering::Relaxed);
                }
            }
        });
        for stream in &received {
            let in_order = stream.iter().zip((0..64u8).cycle()).all(|(got, want)| *got == want);
            assert!(in_order);
        }
        assert_eq!(received.iter().map(Vec::len).sum::<usize>() as u64, accepted);
    }
}
