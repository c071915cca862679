//! Random requests against a model, and rings that break rules.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::virtio::{Malformed, WorkerError};

#[derive(Clone, Debug)]
enum Op {
    Ask(u16, u64, u16),
    Request(u64),
    /// The host refuses in so many calls.
    Refuse(u64),
    Pause,
    Reset,
}

fn op() -> impl Strategy<Value = Op> {
    let request = (0_u16..5, 0..BLOCKS + 8, 0_u16..70);
    prop_oneof![
        8 => request.prop_map(|(kind, first, count)| Op::Ask(kind, first, count)),
        2 => (0..=BLOCKS).prop_map(Op::Request),
        1 => (1_u64..6).prop_map(Op::Refuse),
        1 => Just(Op::Pause),
        1 => Just(Op::Reset),
    ]
}

/// What the specification makes of requests.
struct Model {
    plugged: BTreeSet<u64>,
    requested: u64,
}

impl Model {
    /// The answer of a host that does what it is told.
    fn ask(&mut self, (kind, first, count): (u16, u64, u16)) -> (u16, u16) {
        let count = u64::from(count);
        let range = first..first + count;
        let there = range.clone().filter(|block| self.plugged.contains(block)).count() as u64;
        if kind == UNPLUG_ALL {
            self.plugged.clear();
            return (ACK, 0);
        }
        if kind > STATE || count == 0 || range.end > BLOCKS {
            return (ERROR, 0);
        }
        match kind {
            PLUG if there > 0 => return (ERROR, 0),
            PLUG if self.plugged.len() as u64 + count > self.requested => return (NACK, 0),
            PLUG => self.plugged.extend(range),
            UNPLUG if there < count => return (ERROR, 0),
            UNPLUG => self.plugged.retain(|block| !range.contains(block)),
            _ if there == count => return (ACK, 0),
            _ if there == 0 => return (ACK, 1),
            _ => return (ACK, 2),
        }
        (ACK, 0)
    }
}

proptest! {
    /// Every answer is the model's, or BUSY with nothing changed where the host refused; what the host was told adds up to what is
    /// plugged.
    #[test]
    fn answers_and_blocks_are_those_of_the_model(ops in prop::collection::vec(op(), 1..60)) {
        let mut bed = Bed::new(BLOCKS / 2);
        let mut runner = bed.run();
        let mut model = Model { plugged: BTreeSet::new(), requested: BLOCKS / 2 };
        // Blocks that the host has made usable and not taken back.
        let mut usable = BTreeSet::new();
        for op in ops {
            let asked = match op {
                Op::Ask(kind, first, count) => (kind, first, count),
                Op::Pause => {
                    runner.drain().unwrap();
                    continue;
                }
                Op::Request(blocks) => {
                    bed.set_requested(blocks);
                    model.requested = blocks;
                    continue;
                }
                Op::Refuse(calls) => {
                    bed.host.refuses_in.store(calls, Ordering::SeqCst);
                    continue;
                }
                Op::Reset => {
                    drop(runner);
                    bed.device.reset();
                    bed.drivers = Driver::queues(1, 8);
                    runner = bed.run();
                    continue;
                }
            };
            let answer = bed.ask(&mut runner, asked);
            if answer.0 == BUSY {
                prop_assert!(bed.counter("host_errors") > 0);
            } else {
                prop_assert_eq!(answer, model.ask(asked), "{:?}", asked);
            }
            for done in bed.host.done() {
                match done {
                    Done::Plug(blocks) => usable.extend(blocks),
                    Done::Unplug(blocks) => usable.retain(|block| !blocks.contains(block)),
                }
            }
            prop_assert_eq!(bed.plugged(), model.plugged.len() as u64);
            if answer.0 != BUSY {
                prop_assert!(usable.is_subset(&model.plugged), "the host keeps what is unplugged");
            }
        }
    }

    /// Whatever the descriptors say, the device either works or stops because of the driver.
    #[test]
    fn broken_rings_stop_the_device_at_worst(
        descriptors in prop::collection::vec((any::<u64>(), any::<u32>(), 0_u16..8, 0_u16..10), 8),
        near in any::<bool>(),
        heads in prop::collection::vec(0_u16..9, 1..8),
    ) {
        let mut bed = Bed::new(BLOCKS);
        let mut runner = bed.run();
        for (index, (gpa, len, flags, next)) in (0..).zip(descriptors) {
            let (gpa, len) = if near { (gpa % (4 << 20), len % 50_000) } else { (gpa, len) };
            bed.drivers[0].write_descriptor(index, (GuestAddress(gpa), len, flags, next));
        }
        for head in heads {
            bed.drivers[0].offer(head);
        }
        bed.drivers[0].doorbell.notify();
        if let Err(error) = runner.step() {
            let fault = matches!(error, WorkerError::Malformed(_))
                && !matches!(error, WorkerError::Malformed(Malformed::AvailableIndex));
            prop_assert!(fault, "{}", error);
            prop_assert!(bed.counter("malformed") > 0);
        }
        prop_assert!(bed.plugged() <= BLOCKS);
    }
}
