//! Limits, by a clock that the test moves. Timers are set so far ahead that none expires.

use std::sync::Arc;
use std::time::Duration;

use super::{Bed, PLAIN};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::virtio::limit::{Limits, TokenBucket};
use crate::virtio::testing::{Buffers, Runner};

const MINUTE: u64 = 60 * 1_000_000_000;
const HOUR: u64 = 60 * MINUTE;

fn bucket(size: u64, refill: u64) -> TokenBucket {
    TokenBucket { size, one_time_burst: 0, refill_time: Duration::from_nanos(refill) }
}

struct Limited {
    bed: Bed,
    runner: Runner,
    clock: Arc<AtomicU64>,
}

impl Limited {
    fn new(limits: Limits) -> Self {
        let mut bed = Bed::new(1);
        let clock = Arc::new(AtomicU64::new(0));
        bed.net.limit(&limits, &clock);
        let runner = bed.run().remove(0);
        Self { bed, runner, clock }
    }

    /// So much later each queue is looked at.
    fn later(&mut self, time: u64) {
        self.clock.fetch_add(time, Ordering::Relaxed);
        for driver in &self.bed.drivers {
            driver.doorbell.notify();
        }
        self.runner.step().unwrap();
    }

    /// The guest sends packets of this length, all of which fit into the ring.
    fn send(&mut self, packets: usize, len: usize) {
        for _ in 0..packets {
            let packet = [&PLAIN[..], &vec![1; len]].concat();
            self.bed.drivers[1].send(&Buffers { readable: vec![&packet], writable: vec![] });
        }
        self.runner.step().unwrap();
    }

    /// How many have left since the last time.
    fn sent(&mut self) -> usize {
        let mut sent = 0;
        while self.bed.drivers[1].used().is_some() {
            sent += 1;
        }
        sent
    }

    /// The host sends packets of this length, for each of which the guest has a buffer.
    fn arrive(&mut self, packets: usize, len: usize) {
        for _ in 0..packets {
            self.bed.drivers[0].send(&Buffers { readable: vec![], writable: vec![1000] });
            self.bed.double.send(0, &[&PLAIN[..], &vec![2; len]].concat());
        }
        self.runner.step().unwrap();
    }

    /// How many have come since the last time.
    fn received(&mut self) -> usize {
        let mut received = 0;
        while self.bed.drivers[0].used().is_some() {
            received += 1;
        }
        received
    }
}

#[test]
fn no_more_packets_leave_than_the_limit_allows() {
    let operations = Some(bucket(2, HOUR));
    let mut limited = Limited::new(Limits { operations, bandwidth: None });
    limited.send(5, 10);
    assert_eq!(limited.sent(), 2);
    limited.later(HOUR / 2 - MINUTE);
    assert_eq!(limited.sent(), 0);
    limited.later(MINUTE);
    assert_eq!(limited.sent(), 1);
    limited.later(HOUR);
    assert_eq!(limited.sent(), 2);
    assert_eq!(limited.bed.counter("tx_throttled"), 2, "each wait is counted once");
    assert_eq!(limited.bed.counter("tx_dropped"), 0);
}

#[test]
fn no_more_packets_come_than_the_limit_allows() {
    let operations = Some(bucket(2, HOUR));
    let mut limited = Limited::new(Limits { operations, bandwidth: None });
    limited.arrive(5, 10);
    assert_eq!(limited.received(), 2);
    limited.later(HOUR / 2 - MINUTE);
    assert_eq!(limited.received(), 0);
    limited.later(MINUTE);
    assert_eq!(limited.received(), 1);
    limited.later(HOUR);
    assert_eq!(limited.received(), 2);
    assert!(limited.bed.counter("rx_throttled") > 0);
    assert_eq!(limited.bed.counter("rx_dropped"), 0, "they wait in the tap");
}

#[test]
fn bytes_are_those_of_the_packets_without_the_cards_header() {
    let bandwidth = Some(bucket(1000, HOUR));
    let mut limited = Limited::new(Limits { bandwidth, operations: None });
    limited.send(3, 500);
    assert_eq!(limited.sent(), 2);
    limited.later(HOUR / 2);
    assert_eq!(limited.sent(), 1);
    limited.later(HOUR);
    // What comes is charged for when it has: one more than fits, and the next waits for that, too.
    limited.arrive(4, 600);
    assert_eq!(limited.received(), 2);
    limited.later(HOUR / 5);
    assert_eq!(limited.received(), 0, "200 bytes are paid for, and none is there");
    limited.later(HOUR / 5);
    assert_eq!(limited.received(), 1);
}

#[test]
fn each_direction_has_its_own_buckets() {
    let operations = Some(bucket(1, HOUR));
    let mut limited = Limited::new(Limits { operations, bandwidth: None });
    limited.send(2, 10);
    limited.arrive(2, 10);
    assert_eq!((limited.sent(), limited.received()), (1, 1));
}

#[test]
fn a_throttled_card_is_still_at_once_and_goes_on_after_a_pause() {
    let operations = Some(bucket(1, HOUR));
    let mut limited = Limited::new(Limits { operations, bandwidth: None });
    limited.send(2, 10);
    limited.arrive(2, 10);
    assert_eq!((limited.sent(), limited.received()), (1, 1));
    limited.runner.drain().unwrap();
    assert_eq!((limited.sent(), limited.received()), (0, 0));
    limited.later(HOUR);
    assert_eq!((limited.sent(), limited.received()), (1, 1));
}

#[test]
fn the_timer_wakes_a_throttled_card() {
    // By the host's clock: however slow the host is, the packet comes in the end.
    let operations = Some(bucket(1, 20_000_000));
    let limits = Limits { operations, bandwidth: None };
    let mut bed = Bed::with_limits(1, limits);
    let mut runner = bed.run().remove(0);
    let packet = [&PLAIN[..], &[1; 10]].concat();
    for _ in 0..3 {
        bed.drivers[1].send(&Buffers { readable: vec![&packet], writable: vec![] });
    }
    runner.step().unwrap();
    let mut sent = 0;
    while sent < 3 {
        match bed.drivers[1].used() {
            Some(_) => sent += 1,
            None => runner.sleep().unwrap(),
        }
    }
}
