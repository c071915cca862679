//! The configuration, and requests one by one.

use std::sync::Arc;

use super::*;
use crate::virtio::mem::MemError;
use crate::virtio::{ActivationError, Malformed, WorkerError};

/// The configuration: block size, node, address, region, usable, plugged, requested.
fn config(device: &MemDevice) -> [u64; 7] {
    let mut bytes = [0; 56];
    device.read_config(0, &mut bytes);
    let words: Vec<u64> =
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    words.try_into().unwrap()
}

#[test]
fn the_configuration_says_what_there_is_and_what_is_wanted() {
    let mut bed = Bed::new(8);
    let mut runner = bed.run();
    let size = BLOCKS * BLOCK_SIZE;
    assert_eq!(config(&bed.device), [BLOCK_SIZE, 3, START, size, size, 0, 8 * BLOCK_SIZE]);
    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 3)), (ACK, 0));
    bed.set_requested(5);
    let now = config(&bed.device);
    assert_eq!(now[5..], [3 * BLOCK_SIZE, 5 * BLOCK_SIZE]);

    let mut beyond = [0xEE; 3];
    for offset in [56, u64::MAX, u64::MAX - 1] {
        bed.device.read_config(offset, &mut beyond);
        assert_eq!(beyond, [0; 3]);
    }
    bed.device.write_config(40, &[0xFF; 16]);
    assert_eq!(config(&bed.device), now, "nothing of it is the driver's");
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let bed = Bed::new(8);
    for requested in [1, BLOCK_SIZE - 1, (BLOCKS + 1) * BLOCK_SIZE, u64::MAX] {
        let error = bed.device.set_requested(requested).unwrap_err();
        assert_eq!(error, MemError::Requested { requested, size: BLOCKS * BLOCK_SIZE });
        assert_eq!(bed.device.requested(), 8 * BLOCK_SIZE);
        assert!(MemDevice::new("m".into(), MemOptions { requested, ..options(0) }).is_err());
    }
    for (gpa, size) in [(1, BLOCK_SIZE), (0, 0), (0, 4096), (!(BLOCK_SIZE - 1), 1 << 40)] {
        let options = MemOptions { gpa: GuestAddress(gpa), size, ..options(0) };
        let error = MemDevice::new("m".into(), options).err();
        assert_eq!(error, Some(MemError::Region { gpa, size }));
    }
}

#[test]
fn blocks_are_plugged_and_unplugged_and_their_state_can_be_asked_for() {
    let mut bed = Bed::new(BLOCKS);
    let mut runner = bed.run();
    assert_eq!(bed.ask(&mut runner, (STATE, 0, 128)), (ACK, 1));
    assert_eq!(bed.ask(&mut runner, (PLUG, 10, 4)), (ACK, 0));
    assert_eq!(bed.host.done(), [Done::Plug(10..14)]);
    assert_eq!(bed.ask(&mut runner, (STATE, 10, 4)), (ACK, 0));
    assert_eq!(bed.ask(&mut runner, (STATE, 9, 4)), (ACK, 2));
    assert_eq!(bed.ask(&mut runner, (UNPLUG, 11, 1)), (ACK, 0));
    assert_eq!(bed.host.done(), [Done::Unplug(11..12)]);
    assert_eq!(bed.plugged(), 3);
    assert_eq!(bed.ask(&mut runner, (UNPLUG_ALL, 0, 0)), (ACK, 0));
    assert_eq!(bed.host.done(), [Done::Unplug(0..BLOCKS)]);
    assert_eq!((bed.plugged(), bed.ask(&mut runner, (STATE, 0, 128))), (0, (ACK, 1)));
    let counted = ["plugs", "unplugs", "unplug_alls", "states"].map(|name| bed.counter(name));
    assert_eq!(counted, [1, 1, 1, 4]);
}

#[test]
fn more_than_is_asked_for_is_not_plugged() {
    let mut bed = Bed::new(4);
    let mut runner = bed.run();
    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 5)), (NACK, 0));
    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 3)), (ACK, 0));
    assert_eq!(bed.ask(&mut runner, (PLUG, 3, 2)), (NACK, 0));
    assert_eq!(bed.ask(&mut runner, (PLUG, 3, 1)), (ACK, 0));
    // What is there already stays, and can go.
    bed.set_requested(1);
    assert_eq!(bed.plugged(), 4);
    assert_eq!(bed.ask(&mut runner, (PLUG, 9, 1)), (NACK, 0));
    assert_eq!(bed.ask(&mut runner, (UNPLUG, 0, 4)), (ACK, 0));
    assert_eq!((bed.counter("nacks"), bed.plugged()), (3, 0));
    assert_eq!(bed.host.done(), [Done::Plug(0..4), Done::Unplug(0..4)]);
}

#[test]
fn requests_that_make_no_sense_are_errors_and_nothing_else() {
    let mut bed = Bed::new(BLOCKS);
    let mut runner = bed.run();
    assert_eq!(bed.ask(&mut runner, (PLUG, 4, 4)), (ACK, 0));
    bed.host.done();
    for request in [
        (PLUG, 7, 2),
        (UNPLUG, 3, 2),
        (UNPLUG, 20, 1),
        (PLUG, 127, 2),
        (PLUG, 128, 1),
        (STATE, 0, 129),
        (PLUG, 0, 0),
        (UNPLUG, u64::MAX / BLOCK_SIZE, 1),
        (4, 0, 1),
    ] {
        assert_eq!(bed.ask(&mut runner, request), (ERROR, 0), "{request:?}");
    }
    assert_eq!((bed.counter("errors"), bed.plugged(), bed.host.done()), (9, 4, vec![]));
}

#[test]
fn a_host_without_memory_is_busy_and_gets_back_what_it_gave() {
    let mut bed = Bed::new(BLOCKS);
    let mut runner = bed.run();
    // The third of four pieces.
    bed.host.refuses_in.store(3, Ordering::SeqCst);
    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 64)), (BUSY, 0));
    assert_eq!(bed.host.done(), [Done::Plug(0..48), Done::Unplug(0..48)]);
    assert_eq!((bed.plugged(), bed.counter("host_errors")), (0, 1));

    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 64)), (ACK, 0));
    bed.host.refuses_in.store(2, Ordering::SeqCst);
    assert_eq!(bed.ask(&mut runner, (UNPLUG, 0, 64)), (BUSY, 0));
    assert_eq!(bed.plugged(), 64, "none of it counts as unplugged");
    bed.host.refuses_in.store(8, Ordering::SeqCst);
    assert_eq!(bed.ask(&mut runner, (UNPLUG_ALL, 0, 0)), (BUSY, 0));
    assert_eq!(bed.ask(&mut runner, (UNPLUG_ALL, 0, 0)), (ACK, 0));
    assert_eq!((bed.plugged(), bed.counter("busy")), (0, 3));
}

#[test]
fn what_is_plugged_outlasts_a_reset_but_no_machine() {
    let mut bed = Bed::new(BLOCKS);
    let mut runner = bed.run();
    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 64)), (ACK, 0));
    drop(runner);
    bed.device.reset();
    bed.drivers = Driver::queues(1, 8);
    let mut runner = bed.run();
    assert_eq!(bed.ask(&mut runner, (STATE, 0, 64)), (ACK, 0));
    assert_eq!(bed.plugged(), 64);

    // A worker of a machine that has ended changes nothing of the next one.
    let next = Arc::new(Host::default());
    bed.device.start(Arc::clone(&next) as _);
    assert_eq!((bed.plugged(), bed.device.requested()), (0, BLOCKS * BLOCK_SIZE));
    assert_eq!(bed.ask(&mut runner, (UNPLUG, 0, 64)), (ACK, 0));
    assert_eq!(bed.ask(&mut runner, (PLUG, 0, 1)), (ACK, 0));
    assert_eq!((bed.plugged(), next.done()), (0, vec![]));
}

#[test]
fn a_request_that_is_none_stops_the_device() {
    for (readable, writable) in [(23, 10), (24, 9), (0, 10), (24, 0)] {
        let mut bed = Bed::new(BLOCKS);
        let mut runner = bed.run();
        let request = bytes((PLUG, 0, 1));
        let buffers = Buffers {
            readable: if readable == 0 { vec![] } else { vec![&request[..readable]] },
            writable: if writable == 0 { vec![] } else { vec![writable] },
        };
        bed.drivers[0].send(&buffers);
        let error = runner.step().unwrap_err();
        assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
        assert_eq!((bed.counter("malformed"), bed.plugged()), (1, 0));
        assert_eq!(bed.drivers[0].used(), None);
    }
}

#[test]
fn buffers_in_pieces_are_as_good() {
    let mut bed = Bed::new(BLOCKS);
    let mut runner = bed.run();
    let request = bytes((PLUG, 5, 2));
    let readable = vec![&request[..1], &request[1..9], &request[9..]];
    let sent = bed.drivers[0].send(&Buffers { readable, writable: vec![1, 8, 40] });
    runner.step().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 10)));
    assert_eq!(bed.host.done(), [Done::Plug(5..7)]);
}

#[test]
fn a_device_without_its_queue_or_without_a_machine_is_not_activated() {
    let bed = Bed::new(1);
    let mut given = activation(&bed.drivers, Features(0));
    given.queues.clear();
    assert!(matches!(bed.device.activate(given), Err(ActivationError::MissingQueue(0))));
    let nowhere = MemDevice::new("mem".into(), options(0)).unwrap();
    let given = activation(&bed.drivers, Features(0));
    assert!(matches!(nowhere.activate(given), Err(ActivationError::Host { .. })));
    assert_eq!(nowhere.plugged(), 0);
}
