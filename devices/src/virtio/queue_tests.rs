//! Rings as drivers should and should not fill them.

use vm_memory::GuestAddress;

use super::testing::{Buffers, Driver};
use super::{Chain, Features, Malformed, Used, Virtqueue};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Writes descriptors that break a rule; the address is one of a buffer.
type Spoil = fn(&Driver, GuestAddress);

fn pair() -> (Driver, Virtqueue) {
    with(Features::default())
}

fn with(features: Features) -> (Driver, Virtqueue) {
    let driver = Driver::queues(1, 8).remove(0);
    let queue = driver.virtqueue(features);
    (driver, queue)
}

#[test]
fn a_request_comes_out_as_it_was_put_in_and_goes_back() {
    let (mut driver, mut queue) = pair();
    let sent = driver.send(&Buffers { readable: vec![b"ab", b"cde"], writable: vec![4, 2] });
    let mut chain = Chain::new();
    assert!(queue.pop(&mut chain).unwrap());
    assert_eq!([chain.readable_len(), chain.writable_len()], [5, 6]);
    let mut data = [0; 4];
    chain.read_exact(queue.memory(), 1, &mut data).unwrap();
    assert_eq!(&data, b"bcde");
    assert_eq!(chain.write(queue.memory(), 3, b"xyz!").unwrap(), 3, "there is room for three");
    queue.push(chain.head(), 6).unwrap();
    queue.flush().unwrap();
    assert_eq!(driver.used(), Some((sent.head, 6)));
    assert_eq!(driver.interrupts.queues(), 1);
    assert_eq!(driver.read(sent.writable[0].0, 4), b"\0\0\0x");
    assert_eq!(driver.read(sent.writable[1].0, 2), b"yz");
    assert!(!queue.pop(&mut chain).unwrap());
}

#[test]
fn nothing_is_flushed_twice() {
    let (mut driver, mut queue) = pair();
    driver.send(&Buffers { readable: vec![], writable: vec![1] });
    let mut chain = Chain::new();
    assert!(queue.pop(&mut chain).unwrap());
    queue.push(chain.head(), 0).unwrap();
    queue.flush().unwrap();
    queue.flush().unwrap();
    assert_eq!(driver.interrupts.queues(), 1);
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    use vm_memory::Bytes;
    let (mut driver, mut queue) = pair();
    driver.memory.write_obj(1_u16.to_le(), driver.available_ring()).unwrap();
    driver.send(&Buffers { readable: vec![], writable: vec![1] });
    let mut chain = Chain::new();
    assert!(queue.pop(&mut chain).unwrap());
    queue.push(chain.head(), 0).unwrap();
    queue.flush().unwrap();
    assert_eq!(driver.interrupts.queues(), 0);
}

#[test]
fn with_event_idx_the_driver_says_at_which_buffer_it_wants_one() {
    use vm_memory::Bytes;
    let (mut driver, mut queue) = with(Features(Features::EVENT_IDX));
    // used_event, behind the available ring: after the second buffer (index 1).
    let used_event = GuestAddress(driver.available_ring().0 + 4 + 2 * 8);
    driver.memory.write_obj(1_u16.to_le(), used_event).unwrap();
    let mut chain = Chain::new();
    for expected in [0, 1, 1] {
        driver.send(&Buffers { readable: vec![], writable: vec![1] });
        assert!(queue.pop(&mut chain).unwrap());
        queue.push(chain.head(), 0).unwrap();
        queue.flush().unwrap();
        assert_eq!(driver.interrupts.queues(), expected);
    }
}

#[test]
fn what_is_put_back_comes_again() {
    let (mut driver, mut queue) = pair();
    let sent = driver.send(&Buffers { readable: vec![b"x"], writable: vec![] });
    let mut chain = Chain::new();
    for _ in 0..2 {
        assert!(queue.pop(&mut chain).unwrap());
        assert_eq!(chain.head(), sent.head);
        queue.unpop();
    }
    assert_eq!(queue.position(), (0, 0));
}

#[test]
fn chains_that_break_the_rules_are_refused() {
    let at = |driver: &Driver| driver.buffers();
    let cases: [(&str, Spoil, Malformed); 7] = [
        ("a loop", |d, a| d.write_descriptor(0, (a, 1, NEXT, 0)), Malformed::Chain),
        (
            "a next that does not exist",
            |d, a| d.write_descriptor(0, (a, 1, NEXT, 8)),
            Malformed::Chain,
        ),
        (
            "a buffer beyond RAM",
            |d, _| d.write_descriptor(0, (GuestAddress(1 << 40), 1, 0, 0)),
            Malformed::Buffer,
        ),
        (
            "a buffer that wraps",
            |d, _| d.write_descriptor(0, (GuestAddress(u64::MAX - 1), 8, 0, 0)),
            Malformed::Buffer,
        ),
        (
            "readable after writable",
            |d, a| {
                d.write_descriptor(0, (a, 1, NEXT | WRITE, 1));
                d.write_descriptor(1, (a, 1, 0, 0));
            },
            Malformed::Order,
        ),
        (
            "an indirect table of half a descriptor",
            |d, a| d.write_descriptor(0, (a, 8, INDIRECT, 0)),
            Malformed::Chain,
        ),
        (
            "an indirect table beyond RAM",
            |d, _| d.write_descriptor(0, (GuestAddress(1 << 40), 16, INDIRECT, 0)),
            Malformed::Chain,
        ),
    ];
    for (name, spoil, expected) in cases {
        let (mut driver, mut queue) = pair();
        spoil(&driver, at(&driver));
        driver.offer(0);
        assert_eq!(queue.pop(&mut Chain::new()), Err(expected), "{name}");
    }
}

#[test]
fn an_available_index_that_runs_ahead_is_refused() {
    use vm_memory::Bytes;
    let (driver, mut queue) = pair();
    let index = GuestAddress(driver.available_ring().0 + 2);
    driver.memory.write_obj(9_u16.to_le(), index).unwrap();
    assert_eq!(queue.pop(&mut Chain::new()), Err(Malformed::AvailableIndex));
}

#[test]
fn a_head_that_does_not_exist_is_refused() {
    let (mut driver, mut queue) = pair();
    driver.offer(8);
    assert_eq!(queue.pop(&mut Chain::new()), Err(Malformed::Chain));
}

#[test]
fn requests_that_go_back_together_are_seen_at_once_and_tell_once() {
    use vm_memory::Bytes;
    for features in [Features::default(), Features(Features::EVENT_IDX)] {
        let (mut driver, mut queue) = with(features);
        let mut chain = Chain::new();
        let used_event = GuestAddress(driver.available_ring().0 + 4 + 2 * 8);
        let mut interrupts = 0;
        // Often enough to go round the ring, past its end.
        for round in 0..10_u32 {
            let mut all = Vec::new();
            for place in 0..3 {
                let sent = driver.send(&Buffers { readable: vec![], writable: vec![8] });
                assert!(queue.pop(&mut chain).unwrap());
                all.push(Used { head: sent.head, written: 3 * round + place });
            }
            queue.push_together(&all).unwrap();
            for used in all {
                assert_eq!(driver.used(), Some((used.head, used.written)));
            }
            assert_eq!(driver.used(), None);
            // The driver of the event index has asked to be told of the second one of them.
            let wanted = u16::try_from(3 * round + 1).unwrap().to_le();
            driver.memory.write_obj(wanted, used_event).unwrap();
            queue.flush().unwrap();
            interrupts += 1;
            assert_eq!(driver.interrupts.queues(), interrupts, "round {round}");
        }
        queue.push_together(&[]).unwrap();
        queue.flush().unwrap();
        assert_eq!(driver.interrupts.queues(), interrupts);
    }
}

#[test]
fn many_requests_that_go_back_together_are_whole_wherever_the_ring_ends() {
    let mut driver = Driver::queues(1, 64).remove(0);
    let mut queue = driver.virtqueue(Features::default());
    let mut chain = Chain::new();
    // More than are written at one go, and each time from another place in the ring on.
    for round in 0..64_u32 {
        let all: Vec<_> = (0..59)
            .map(|place| {
                let sent = driver.send(&Buffers { readable: vec![], writable: vec![8] });
                assert!(queue.pop(&mut chain).unwrap());
                Used { head: sent.head, written: 100 * round + place }
            })
            .collect();
        queue.push_together(&all).unwrap();
        for used in all {
            assert_eq!(driver.used(), Some((used.head, used.written)), "round {round}");
        }
        assert_eq!(driver.used(), None);
    }
}
