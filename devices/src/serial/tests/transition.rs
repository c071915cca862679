//! The transition itself, over words that no history may lead to.
use proptest::prelude::*;

use crate::serial::registers::{
    DATA, DELTA, FIFO, IER, LINE, LOOP, MODEM, OVERRUN, RX, Registers, THR_EMPTY, THRE, TRIGGER,
};
use crate::serial::transition::{Effects, Event, Reply, transition};

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u8>().prop_map(Event::Read),
        any::<(u8, u8)>().prop_map(|(offset, value)| Event::Write(offset, value)),
        Just(Event::Received),
        Just(Event::Full),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever the word, every event has an outcome, and the outcome is consistent.
    #[test]
    fn every_word_takes_every_event(word in any::<u64>(), event in event()) {
        let now = Registers(word);
        let step = transition(now, event);
        let Effects { reply, discard, send, raise, wake_input } = step.effects;
        let (held, holds) = (i32::from(now.get(RX)), i32::from(step.next.get(RX)));
        let received = i32::from(event == Event::Received);
        let taken = i32::from(reply == Reply::FirstReceived);
        prop_assert_eq!(holds, held + received - taken - i32::from(discard), "every byte is accounted for");
        prop_assert!(!raise || step.next.pending() != 0);
        prop_assert!(!wake_input || step.next.room());
        prop_assert!(send.is_none() || !now.loopback());
        if reply == Reply::Room {
            prop_assert!(step.next.room());
        }
    }
}

/// Every combination of enabled and pending interrupts: the first by priority is named, and what
/// the data sheet says ends it, ends it.
#[test]
fn every_cause_by_priority() {
    // Enabled (4 bits), FIFOs, trigger (2 bits), empty, overrun, changed line, looped, received (4 bits).
    for case in 0..1_u32 << 15 {
        let bits =
            |shift: u32, width: u32| u8::try_from(case >> shift & ((1 << width) - 1)).unwrap();
        let word = Registers::RESET
            .with(IER, bits(0, 4))
            .with(FIFO, bits(4, 1))
            .with(TRIGGER, bits(5, 2))
            .with(THRE, bits(7, 1))
            .with(OVERRUN, bits(8, 1))
            .with(DELTA, bits(9, 1))
            .with(LOOP, bits(10, 1))
            .with(RX, bits(11, 4));
        let held = bits(10, 1) + bits(11, 4);
        let enough = !word.has(FIFO) || held >= [1, 4, 8, 14][usize::from(bits(5, 2))];
        let enabled = |cause: u8| bits(0, 4) & cause != 0;
        let (expected, ends, cause) = if enabled(LINE) && bits(8, 1) != 0 {
            (0x6, Some(5), LINE)
        } else if enabled(DATA) && held > 0 {
            (if enough { 0x4 } else { 0xC }, None, DATA)
        } else if enabled(THR_EMPTY) && bits(7, 1) != 0 {
            (0x2, Some(2), THR_EMPTY)
        } else if enabled(MODEM) && bits(9, 1) != 0 {
            (0x0, Some(6), MODEM)
        } else {
            (0x1, None, 0)
        };
        let fifo_bits = bits(4, 1) * 0xC0;
        let step = transition(word, Event::Read(2));
        assert_eq!(step.effects.reply, Reply::Value(expected | fifo_bits), "case {case:#x}");
        assert_eq!(word.pending() & cause, cause);
        if let Some(register) = ends {
            let next = transition(word, Event::Read(register)).next;
            assert_eq!(next.pending(), word.pending() & !cause, "case {case:#x}");
        }
        if cause == DATA {
            let mut next = word;
            for _ in 0..held {
                assert_ne!(next.pending() & DATA, 0);
                next = transition(next, Event::Read(0)).next;
            }
            assert_eq!(next.pending(), word.pending() & !DATA, "case {case:#x}");
        }
    }
}
