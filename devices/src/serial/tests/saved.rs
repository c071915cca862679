//! A port that is saved and restored at any moment behaves as one that is not.

use proptest::prelude::*;

use super::{Out, drain, get, recorded, set};
use crate::console::ConsoleInput;
use crate::serial::SavedSerial;

#[derive(Clone, Debug)]
enum Op {
    Read(u8),
    Write(u8, u8),
    Offer(Vec<u8>),
    Move,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..8_u8).prop_map(Op::Read),
        4 => (0..8_u8, any::<u8>()).prop_map(|(offset, value)| Op::Write(offset, value)),
        2 => proptest::collection::vec(any::<u8>(), 1..20).prop_map(Op::Offer),
        1 => Just(Op::Move),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_one_that_was_never_saved(ops in proptest::collection::vec(op(), 1..80)) {
        let (stays, told) = recorded();
        let (mut moves, mut told_moving) = recorded();
        for op in ops {
            match op {
                Op::Read(offset) => {
                    prop_assert_eq!(get(&stays, offset), get(&moves, offset));
                }
                Op::Write(offset, value) => {
                    set(&stays, offset, value);
                    set(&moves, offset, value);
                }
                Op::Offer(bytes) => {
                    prop_assert_eq!(stays.offer(&bytes), moves.offer(&bytes));
                }
                Op::Move => {
                    let saved = postcard::to_stdvec(&moves.save()).unwrap();
                    prop_assert_eq!(moves.save(), stays.save(), "it can be saved again");
                    let saved: SavedSerial = postcard::from_bytes(&saved).unwrap();
                    let (next, told_next) = recorded();
                    next.restore(&saved).unwrap();
                    prop_assert_eq!(next.save(), saved.clone());
                    let pending = get(&next, 2) & 1 == 0;
                    prop_assert_eq!(drain(&told_next).contains(&Out::Interrupt), pending);
                    // The look has consumed "THR empty", if that was it.
                    let (next, told_next) = recorded();
                    next.restore(&saved).unwrap();
                    drop(drain(&told_next));
                    drop(drain(&told_moving));
                    drop(drain(&told));
                    (moves, told_moving) = (next, told_next);
                }
            }
            // Who waits for room, waits at the host's console, which is another's.
            let without_room = |out: Vec<Out>| -> Vec<Out> {
                out.into_iter().filter(|out| *out != Out::Room).collect()
            };
            prop_assert_eq!(without_room(drain(&told)), without_room(drain(&told_moving)));
        }
    }
}

#[test]
fn input_that_came_before_the_restore_comes_after_what_was_saved() {
    let (port, _told) = recorded();
    set(&port, 2, 1);
    assert_eq!(port.offer(b"saved"), 5);
    let (next, told) = recorded();
    assert_eq!(next.offer(b"xyz"), 1, "without FIFOs there is room for one");
    next.restore(&port.save()).unwrap();
    assert!(drain(&told).contains(&Out::Room), "there is room for the others now");
    assert_eq!(next.offer(b"yz"), 2);
    let read: Vec<u8> = (0..8).map(|_| get(&next, 0)).collect();
    assert_eq!(read, b"savedxyz");
    // A full FIFO has no room for it.
    assert_eq!(port.offer(b"0123456789"), 10);
    let (next, _told) = recorded();
    assert_eq!(next.offer(b"x"), 1);
    next.restore(&port.save()).unwrap();
    let read: Vec<u8> = (0..16).map(|_| get(&next, 0)).collect();
    assert_eq!(read, b"saved0123456789\0");
    assert_eq!(next.offer(b"y"), 1);
    assert_eq!(get(&next, 0), b'y');
}

#[test]
fn registers_that_no_port_has_are_refused() {
    let (port, _told) = recorded();
    let good = port.save();
    for (bad, what) in [
        (SavedSerial { ier: 0x10, ..good.clone() }, "the interrupt enable register cannot be 0x10"),
        (SavedSerial { mcr: 0x20, ..good.clone() }, "the modem control register cannot be 0x20"),
        (SavedSerial { fcr: 0x02, ..good.clone() }, "the FIFO control register cannot be 0x2"),
        (
            SavedSerial { modem_changes: 16, ..good.clone() },
            "the modem status register cannot be 0x10",
        ),
        (
            SavedSerial { received: vec![0; 16], ..good.clone() },
            "the bytes in the FIFO cannot be 16",
        ),
    ] {
        assert_eq!(port.restore(&bad).unwrap_err().to_string(), what);
        assert_eq!(port.save(), good);
    }
}
