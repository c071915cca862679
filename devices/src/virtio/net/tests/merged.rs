//! Packets that fill several buffers (virtio 1.2, 5.1.6.3 and 5.1.6.4).

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::features::{GUEST_CSUM, GUEST_TSO4, MRG_RXBUF};
use super::{Bed, PLAIN};
use crate::virtio::testing::{Buffers, Runner, Sent};
use crate::virtio::{Features, Malformed, WorkerError};

/// A driver that takes packets in as many buffers as they fill, and what of it has them.
struct Merging {
    bed: Bed,
    runner: Runner,
    /// Buffers that the card has, in order.
    given: VecDeque<Sent>,
}

impl Merging {
    /// With the MTU of the bed, 1400; or for packets of any size.
    fn new(large: bool) -> Self {
        let mut bed = Bed::new(1);
        let offloads = if large { GUEST_CSUM | GUEST_TSO4 } else { 0 };
        bed.features = Features(MRG_RXBUF | offloads);
        let runner = bed.run().remove(0);
        Self { bed, runner, given: VecDeque::new() }
    }

    /// Gives buffers, of these sizes, each in two pieces.
    fn give(&mut self, sizes: &[u32]) {
        for size in sizes {
            let writable = vec![size / 3 + 1, size - size / 3 - 1];
            let buffers = Buffers { readable: vec![], writable };
            self.given.push_back(self.bed.drivers[0].send(&buffers));
        }
        self.step();
    }

    fn send(&mut self, number: u8, len: usize) {
        self.bed.double.send(0, &packet(number, len));
        self.step();
    }

    fn step(&mut self) {
        self.runner.step().unwrap();
    }

    /// The next packet without its header, and how many buffers it has filled.
    fn got(&mut self) -> Option<(Vec<u8>, u16)> {
        let mut data = self.used()?;
        let buffers = u16::from_le_bytes([data[10], data[11]]);
        for _ in 1..buffers {
            // Whoever sees the first must find the others (they are looked for without a wait).
            data.extend(self.used().expect("all of a packet comes at once"));
        }
        Some((data.split_off(12), buffers))
    }

    fn used(&mut self) -> Option<Vec<u8>> {
        let (head, len) = self.bed.drivers[0].used()?;
        let sent = self.given.pop_front().unwrap();
        assert_eq!(sent.head, head, "buffers are used in order");
        let pieces = sent.writable.iter().map(|(gpa, len)| self.bed.drivers[0].read(*gpa, *len));
        let mut data = pieces.collect::<Vec<_>>().concat();
        data.truncate(len as usize);
        Some(data)
    }
}

fn packet(number: u8, len: usize) -> Vec<u8> {
    [PLAIN.to_vec(), vec![number; len]].concat()
}

#[test]
fn a_packet_fills_as_many_buffers_as_it_needs_and_says_how_many() {
    let mut driver = Merging::new(false);
    driver.give(&[100; 4]);
    for (len, buffers) in [(1, 1), (88, 1), (89, 2), (188, 2), (189, 3), (388, 4)] {
        driver.send(7, len);
        assert_eq!(driver.got(), Some((vec![7; len], buffers)), "{len} bytes");
        assert_eq!(driver.got(), None);
        driver.give(&vec![100; buffers.into()]);
    }
    assert_eq!(driver.bed.counter("rx_packets"), 6);
    assert_eq!(driver.bed.counter("rx_dropped"), 0);
}

#[test]
fn what_a_packet_leaves_is_for_the_next_one() {
    let mut driver = Merging::new(true);
    driver.give(&[60, 200, 60, 200]);
    for number in 0..3 {
        driver.bed.double.send(0, &packet(number, 40));
    }
    driver.send(3, 100);
    for number in 0..3 {
        assert_eq!(driver.got(), Some((vec![number; 40], 1)));
    }
    assert_eq!(driver.got(), Some((vec![3; 100], 1)));
}

#[test]
fn one_interrupt_tells_of_all_buffers_of_a_packet() {
    let mut driver = Merging::new(false);
    driver.give(&[100; 4]);
    let before = driver.bed.drivers[0].interrupts.queues();
    driver.send(1, 300);
    assert_eq!(driver.bed.drivers[0].interrupts.queues(), before + 1);
}

#[test]
fn a_packet_waits_for_buffers_if_there_were_as_many_before() {
    let mut driver = Merging::new(true);
    driver.give(&[1000, 1000, 1000]);
    driver.send(1, 1500);
    driver.send(2, 1500);
    driver.send(3, 10);
    assert_eq!(driver.got(), Some((vec![1; 1500], 2)));
    assert_eq!(driver.got(), None, "there is one buffer, and the second packet is longer");
    // It is not lost by a pause, and others wait behind it.
    driver.runner.drain().unwrap();
    driver.step();
    assert_eq!(driver.got(), None);
    driver.give(&[1000]);
    assert_eq!(driver.got(), Some((vec![2; 1500], 2)));
    driver.give(&[1000]);
    assert_eq!(driver.got(), Some((vec![3; 10], 1)));
    assert_eq!(driver.bed.counter("rx_dropped"), 0);
}

#[test]
fn a_packet_that_there_never_were_buffers_for_is_dropped() {
    let mut driver = Merging::new(true);
    driver.give(&[100, 100]);
    driver.send(1, 189);
    driver.send(2, 188);
    assert_eq!(driver.got(), Some((vec![2; 188], 2)));
    assert_eq!(driver.bed.counter("rx_dropped"), 1);
}

#[test]
fn each_buffer_has_room_for_a_header() {
    let mut driver = Merging::new(true);
    driver.bed.drivers[0].send(&Buffers { readable: vec![], writable: vec![50] });
    driver.bed.drivers[0].send(&Buffers { readable: vec![], writable: vec![11] });
    let error = driver.runner.step().unwrap_err();
    assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    assert_eq!(driver.bed.counter("malformed"), 1);
}

#[test]
fn buffers_at_hand_go_back_at_a_pause() {
    let mut driver = Merging::new(true);
    driver.give(&[100; 3]);
    driver.runner.drain().unwrap();
    assert_eq!(driver.bed.drivers[0].used(), None);
    driver.send(1, 250);
    assert_eq!(driver.got(), Some((vec![1; 250], 3)));
}

#[derive(Clone, Debug)]
enum Op {
    Give(u32),
    Arrive(usize),
    Step,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (12_u32..600).prop_map(Op::Give),
        (1_usize..1300).prop_map(Op::Arrive),
        Just(Op::Step),
        Just(Op::Drain),
    ]
}

proptest! {
    /// Whatever sizes they have, packets come whole and in order or are counted, and each fills no buffer more than it needs.
    #[test]
    fn packets_come_whole_in_order_or_are_counted(
        large in any::<bool>(),
        ops in prop::collection::vec(op(), 1..100),
    ) {
        let mut driver = Merging::new(large);
        let mut sent = VecDeque::new();
        let (mut number, mut dropped) = (0_u8, 0);
        // In the end there is room for everything that waits.
        let end = [Op::Step, Op::Give(600), Op::Give(600), Op::Give(600), Op::Give(600)];
        for op in ops.into_iter().chain(end.into_iter().cycle().take(200)) {
            match op {
                Op::Give(size) if driver.given.len() < 4 => driver.give(&[size]),
                Op::Arrive(len) if sent.len() < 16 => {
                    number = number.wrapping_add(1);
                    driver.bed.double.send(0, &packet(number, len));
                    sent.push_back(vec![number; len]);
                }
                Op::Drain => driver.runner.drain().unwrap(),
                _ => driver.step(),
            }
            let rooms: Vec<u32> =
                driver.given.iter().map(|sent| sent.writable.iter().map(|(_, len)| len).sum()).collect();
            let mut first = 0;
            while let Some((data, buffers)) = driver.got() {
                while sent.front().is_some_and(|packet| *packet != data) {
                    sent.pop_front();
                    dropped += 1;
                }
                prop_assert_eq!(sent.pop_front(), Some(data.clone()), "it was sent");
                let filled = &rooms[first..first + usize::from(buffers)];
                first += usize::from(buffers);
                let len = u32::try_from(data.len()).unwrap() + 12;
                prop_assert!(filled.iter().sum::<u32>() >= len);
                prop_assert!(filled[..filled.len() - 1].iter().sum::<u32>() < len, "no more than needed");
            }
        }
        dropped += sent.len();
        prop_assert_eq!(driver.bed.counter("rx_dropped"), dropped as u64);
    }
}
