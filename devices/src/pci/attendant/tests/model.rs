//! Whatever a guest does between rounds, a round makes the world what the registers say.
use proptest::prelude::*;

use super::*;

/// What a guest does between two rounds.
#[derive(Clone, Debug)]
enum Op {
    Place { tag: u8, place: u64 },
    Command { tag: u8, bits: u8 },
    Low { tag: u8, value: u32 },
    Round,
}

const FUNCTIONS: u8 = 4;

fn op() -> impl Strategy<Value = Op> {
    let tag = || 1..=FUNCTIONS;
    prop_oneof![
        4 => (tag(), 0..6_u64).prop_map(|(tag, place)| Op::Place { tag, place }),
        2 => (tag(), prop_oneof![Just(0_u8), Just(MEMORY), Just(MEMORY)])
            .prop_map(|(tag, bits)| Op::Command { tag, bits }),
        1 => (tag(), any::<u32>()).prop_map(|(tag, value)| Op::Low { tag, value }),
        4 => Just(Op::Round),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Few places for several BARs, so that they get in each other's way.
    #[test]
    fn after_a_round_the_world_is_what_the_registers_say(ops in prop::collection::vec(op(), 1..60)) {
        let mut guest = Guest::new(FUNCTIONS);
        for op in ops {
            match op {
                Op::Place { tag, place } => drop(guest.place(tag, 0xD000_0000 + place * LEN)),
                Op::Command { tag, bits } => drop(guest.bed.write_config(slot(tag), 4, &[bits])),
                Op::Low { tag, value } => {
                    drop(guest.bed.write_config(slot(tag), REGISTER, &value.to_le_bytes()));
                }
                Op::Round => {
                    guest.attendant.round();
                    guest.check();
                }
            }
        }
    }
}
