//! Requests one by one, and random sequences of them against a model.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{Bed, numbers};
use crate::virtio::testing::Buffers;
use crate::virtio::{Malformed, WorkerError};

fn readable(data: &[u8]) -> Buffers<'_> {
    Buffers { readable: vec![data], writable: vec![] }
}

#[test]
fn pages_of_a_request_go_back_in_runs() {
    let mut bed = Bed::new();
    let mut runner = bed.run();
    let sent = bed.drivers[0].send(&readable(&numbers([9, 10, 11, 40, 8, 41])));
    runner.step().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 0)));
    assert_eq!(bed.host.taken(), [(8, 4), (40, 2)]);
    assert_eq!(bed.counter("inflated_pages"), 6);
}

#[test]
fn pages_that_come_out_are_only_counted() {
    let mut bed = Bed::new();
    let mut runner = bed.run();
    let sent = bed.drivers[1].send(&readable(&numbers([9, 10, 11])));
    runner.step().unwrap();
    assert_eq!(bed.drivers[1].used(), Some((sent.head, 0)));
    assert_eq!(bed.host.taken(), []);
    assert_eq!(bed.counter("deflated_pages"), 3);
}

#[test]
fn reported_ranges_go_back_but_for_parts_of_pages() {
    let mut bed = Bed::new();
    let mut runner = bed.run();
    let sent = bed.drivers[4].send(&Buffers { readable: vec![], writable: vec![8192, 100, 12288] });
    runner.step().unwrap();
    assert_eq!(bed.drivers[4].used(), Some((sent.head, 0)));
    let first = sent.writable[0].0.0 / 4096;
    // The second is less than a page, and moves the third one away from a page's start.
    assert_eq!(bed.host.taken(), [(first, 2), (first + 3, 2)]);
    assert_eq!(bed.counter("reported_pages"), 4);
}

#[test]
fn page_numbers_outside_of_ram_are_counted_and_ignored() {
    let mut bed = Bed::new();
    let mut runner = bed.run();
    let end = bed.end();
    bed.drivers[0].send(&readable(&numbers([end, end - 1, u32::MAX, 1 << 31])));
    bed.drivers[0].send(&readable(&[1, 0, 0, 0, 2, 0]));
    runner.step().unwrap();
    assert_eq!(bed.host.taken(), [(u64::from(end) - 1, 1), (1, 1)]);
    assert_eq!(bed.counter("malformed"), 4, "three numbers, and half a one");
}

#[test]
fn a_request_longer_than_a_call_looks_at_is_worked_off_in_pieces() {
    let mut bed = Bed::new();
    let mut runner = bed.run();
    let end = bed.end();
    // Every other page, so that no run hides how many were looked at.
    let all: Vec<u32> = (0..20_000).map(|number| number * 2 % end).collect();
    let sent = bed.drivers[0].send(&readable(&numbers(all.iter().copied())));
    runner.step().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 0)));
    assert_eq!(bed.drivers[0].used(), None);
    assert_eq!(bed.counter("inflated_pages"), 20_000);
}

#[test]
fn what_the_host_does_not_take_is_counted() {
    let mut bed = Bed::new();
    let mut runner = bed.run();
    bed.host.refuses.store(true, Ordering::SeqCst);
    let sent = bed.drivers[0].send(&readable(&numbers([1, 2, 5])));
    runner.step().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 0)));
    assert_eq!([bed.counter("host_errors"), bed.counter("inflated_pages")], [2, 0]);
}

#[derive(Clone, Debug)]
enum Op {
    Inflate(Vec<u32>),
    Deflate(Vec<u32>),
    Report(Vec<u32>),
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    // Some beyond the RAM of five queues.
    let pages = || prop::collection::vec(0_u32..6000, 1..600);
    prop_oneof![
        pages().prop_map(Op::Inflate),
        pages().prop_map(Op::Deflate),
        prop::collection::vec(1_u32..20_000, 1..5).prop_map(Op::Report),
        Just(Op::Drain),
    ]
}

proptest! {
    /// The host is given exactly the pages that the driver named and that exist, request by request.
    #[test]
    fn exactly_the_pages_that_were_named_go_back(ops in prop::collection::vec(op(), 1..30)) {
        let mut bed = Bed::new();
        let mut runner = bed.run();
        let end = u64::from(bed.end());
        for op in ops {
            let mut expected: Vec<u64> = match &op {
                Op::Inflate(pages) => pages.iter().map(|page| u64::from(*page)).collect(),
                _ => Vec::new(),
            };
            let queue = match op {
                Op::Inflate(pages) => {
                    bed.drivers[0].send(&readable(&numbers(pages)));
                    0
                }
                Op::Deflate(pages) => {
                    bed.drivers[1].send(&readable(&numbers(pages)));
                    1
                }
                Op::Report(sizes) => {
                    let sent = bed.drivers[4].send(&Buffers { readable: vec![], writable: sizes });
                    for (gpa, len) in sent.writable {
                        let last = (gpa.0 + u64::from(len)) / 4096;
                        expected.extend(gpa.0.div_ceil(4096)..last);
                    }
                    4
                }
                Op::Drain => {
                    runner.drain().unwrap();
                    continue;
                }
            };
            runner.step().unwrap();
            prop_assert!(bed.drivers[queue].used().is_some());
            expected.retain(|page| *page < end);
            let mut taken: Vec<u64> =
                bed.host.taken().into_iter().flat_map(|(page, count)| page..page + count).collect();
            for pages in [&mut expected, &mut taken] {
                pages.sort_unstable();
                pages.dedup();
            }
            prop_assert_eq!(taken, expected);
        }
    }

    /// Whatever the descriptors say, the balloon either works or stops because of the driver.
    #[test]
    fn broken_rings_stop_the_balloon_at_worst(
        queue in prop::sample::select(vec![0_usize, 1, 4]),
        descriptors in prop::collection::vec((any::<u64>(), any::<u32>(), 0_u16..8, 0_u16..10), 8),
        near in any::<bool>(),
        heads in prop::collection::vec(0_u16..9, 1..8),
    ) {
        let mut bed = Bed::new();
        let mut runner = bed.run();
        for (index, (gpa, len, flags, next)) in (0..).zip(descriptors) {
            let (gpa, len) = if near { (gpa % (20 << 20), len % 50_000) } else { (gpa, len) };
            let gpa = vm_memory::GuestAddress(gpa);
            bed.drivers[queue].write_descriptor(index, (gpa, len, flags, next));
        }
        for head in heads {
            bed.drivers[queue].offer(head);
        }
        bed.drivers[queue].doorbell.notify();
        if let Err(error) = runner.step() {
            let fault = matches!(error, WorkerError::Malformed(
                Malformed::Chain | Malformed::Order | Malformed::Buffer
            ));
            prop_assert!(fault, "{}", error);
            prop_assert!(bed.counter("malformed") > 0);
        }
    }
}
