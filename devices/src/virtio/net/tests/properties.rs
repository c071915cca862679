//! Random packets, buffers, pauses and broken chains.

use std::collections::VecDeque;

use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::super::features::MRG_RXBUF;
use super::{Bed, PLAIN};
use crate::virtio::WorkerError;
use crate::virtio::testing::{Buffers, Sent};

#[derive(Clone, Debug)]
enum Op {
    /// The guest gives a buffer of these pieces.
    Room(Vec<u32>),
    /// The host sends a packet of this length.
    Arrive(usize),
    /// The guest sends a packet of this length, its header cut off after so many bytes.
    Leave(usize, usize),
    /// The host takes what there is.
    Take,
    Step,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        prop::collection::vec(1_u32..400, 1..4)
            .prop_map(|pieces| Op::Room([vec![12], pieces].concat())),
        (1_usize..600).prop_map(Op::Arrive),
        (1_usize..2000, 1_usize..12).prop_map(|(len, cut)| Op::Leave(len, cut)),
        Just(Op::Take),
        Just(Op::Step),
        Just(Op::Drain),
    ]
}

proptest! {
    /// Packets come in order, each once and whole, or are dropped because they do not fit the next buffer, as a model says.
    #[test]
    fn packets_pass_in_order_each_once(ops in prop::collection::vec(op(), 1..80)) {
        let mut bed = Bed::new(1);
        let mut runner = bed.run().remove(0);
        let (mut rooms, mut arriving) = (VecDeque::<Sent>::new(), VecDeque::<Vec<u8>>::new());
        let (mut leaving, mut unused) = (VecDeque::<Vec<u8>>::new(), 0);
        let mut number = 0_u8;
        for op in ops.into_iter().chain([Op::Step, Op::Take]) {
            number = number.wrapping_add(1);
            match op {
                Op::Room(pieces) if rooms.len() < 2 => {
                    let buffers = Buffers { readable: vec![], writable: pieces };
                    rooms.push_back(bed.drivers[0].send(&buffers));
                }
                Op::Arrive(len) if arriving.len() < 16 => {
                    let packet = [&PLAIN[..], &vec![number; len]].concat();
                    bed.double.send(0, &packet);
                    arriving.push_back(packet);
                }
                Op::Leave(len, cut) if unused < 2 => {
                    let packet = [&PLAIN[..], &vec![number; len]].concat();
                    let (head, tail) = packet.split_at(cut);
                    bed.drivers[1].send(&Buffers { readable: vec![head, tail], writable: vec![] });
                    leaving.push_back(packet);
                    unused += 1;
                }
                Op::Take => {
                    while let Some(packet) = bed.double.receive(0) {
                        prop_assert_eq!(Some(packet), leaving.pop_front());
                    }
                }
                Op::Step => {
                    runner.step().unwrap();
                    while !arriving.is_empty() && !rooms.is_empty() {
                        let room: u32 = rooms[0].writable.iter().map(|(_, len)| len).sum();
                        let packet = arriving.pop_front().unwrap();
                        if packet.len() > room as usize {
                            continue;
                        }
                        let sent = rooms.pop_front().unwrap();
                        let used = bed.drivers[0].used();
                        prop_assert_eq!(used, Some((sent.head, u32::try_from(packet.len()).unwrap())));
                        let mut got = Vec::new();
                        for (gpa, len) in sent.writable {
                            got.extend(bed.drivers[0].read(gpa, len));
                        }
                        prop_assert_eq!(&got[12..packet.len()], &packet[12..]);
                    }
                    prop_assert_eq!(bed.drivers[0].used(), None);
                    while bed.drivers[1].used().is_some() {
                        unused -= 1;
                    }
                    prop_assert_eq!(unused, 0, "all are gone from the ring");
                }
                Op::Drain => runner.drain().unwrap(),
                _ => {}
            }
        }
        prop_assert!(leaving.is_empty());
    }

    /// Whatever the descriptors say, the card either works or stops because of the driver.
    #[test]
    fn broken_rings_stop_the_card_at_worst(
        queue in 0_usize..5,
        descriptors in prop::collection::vec((any::<u64>(), any::<u32>(), 0_u16..8, 0_u16..10), 8),
        near in any::<bool>(),
        merged in any::<bool>(),
        heads in prop::collection::vec(0_u16..9, 1..8),
    ) {
        let mut bed = Bed::new(2);
        if merged {
            bed.features.0 |= MRG_RXBUF;
        }
        let mut runners = bed.run();
        for (index, (gpa, len, flags, next)) in (0..).zip(descriptors) {
            // Mostly RAM, so that more than the first check is reached.
            let (gpa, len) = if near { (gpa % (20 << 20), len % 5000) } else { (gpa, len) };
            bed.drivers[queue].write_descriptor(index, (GuestAddress(gpa), len, flags, next));
        }
        for head in heads {
            bed.drivers[queue].offer(head);
        }
        bed.drivers[queue].doorbell.notify();
        bed.double.send(0, &[1; 100]);
        for runner in &mut runners {
            if let Err(error) = runner.step() {
                prop_assert!(matches!(error, WorkerError::Malformed(_)), "{}", error);
                prop_assert!(bed.counter("malformed") > 0);
            }
        }
    }
}
