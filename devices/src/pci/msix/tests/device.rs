//! The vectors of a function, from a driver's side and a device's.
use std::sync::Arc;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Attendant, Group, Outcome, Ticket, WorkItem};

use crate::CounterSource;
use crate::bus::Written;
use crate::pci::msix::{Msix, MsixControl};
use crate::pci::platform::MsiMessage;
use crate::pci::testing::{FakePlatform, NoKick};

/// Message control: enabled, and masked as a whole.
pub(super) const ENABLED: u32 = 0x8000;
const ALL_MASKED: u32 = 0x4000;

pub(super) struct Bed {
    pub(super) msix: Msix,
    pub(super) platform: FakePlatform,
    pub(super) attendant: Attendant,
    control: MsixControl,
}

impl Bed {
    pub(super) fn new(vectors: u16) -> Self {
        let platform = FakePlatform::default();
        let bell = Arc::new(FutexWord::new(0));
        let (work, attendant) = WorkItem::new(&Group::new(1, Box::new(NoKick)), &bell);
        let msix = Msix::new(&platform, vectors, &Arc::new(work)).unwrap();
        Self { msix, platform, attendant, control: MsixControl::of_register(0) }
    }

    pub(super) fn set_control(&mut self, value: u32) {
        self.control = MsixControl::of_register(value);
        let written = self.msix.control_written(self.control);
        assert!(matches!(written, Written::Wait(_)));
        self.round();
    }

    pub(super) fn write(&self, vector: u64, register: u64, value: u32) -> Option<Ticket> {
        match self.msix.write_table(16 * vector + 4 * register, &value.to_le_bytes()) {
            Written::Done => None,
            Written::Wait(ticket) => Some(ticket),
        }
    }

    /// Does what a driver does to set up a vector; its mask bit is clear at the end.
    pub(super) fn program(&mut self, vector: u64, data: u32) {
        for (register, value) in [(0, 0xFEE0_1000), (1, 0), (2, data)] {
            assert!(self.write(vector, register, value).is_none(), "masked, it means nothing yet");
        }
        assert!(self.write(vector, 3, 0).is_some());
        self.round();
    }

    pub(super) fn round(&mut self) {
        if let Some(round) = self.attendant.begin() {
            let control = self.control;
            self.msix.reconcile(|| Some(control));
            round.complete(Outcome::Done);
        }
    }

    fn read(&self, vector: u64, register: u64) -> u32 {
        let mut data = [0; 4];
        self.msix.read_table(16 * vector + 4 * register, &mut data);
        u32::from_le_bytes(data)
    }

    fn pending(&self) -> u64 {
        let mut data = [0; 8];
        self.msix.read_pending(0, &mut data);
        u64::from_le_bytes(data)
    }

    /// The data of the messages that a vector was raised with since the last call.
    fn raised(&self, vector: usize) -> Vec<u32> {
        let raised = self.platform.lines()[vector].raised();
        raised.iter().map(|message| message.expect("a route").data).collect()
    }
}

fn enabled(vectors: u16) -> Bed {
    let mut bed = Bed::new(vectors);
    bed.set_control(ENABLED);
    for vector in 0..vectors {
        bed.program(vector.into(), 0x40 + u32::from(vector));
    }
    bed
}

#[test]
fn after_reset_every_vector_is_masked_and_interrupts_are_pending() {
    let mut bed = Bed::new(3);
    bed.set_control(ENABLED);
    assert_eq!([bed.read(0, 3), bed.read(1, 3), bed.read(2, 3)], [1; 3]);
    bed.msix.raise(1);
    bed.msix.raise(1);
    bed.msix.raise(3);
    bed.msix.raise(0xFFFF);
    assert_eq!(bed.pending(), 0b010);
    assert!(bed.raised(1).is_empty());
}

#[test]
fn what_is_pending_is_raised_once_when_unmasked_and_routed() {
    let mut bed = Bed::new(1);
    bed.set_control(ENABLED);
    bed.msix.raise(0);
    bed.msix.raise(0);
    let ticket = bed.write(0, 3, 0).unwrap();
    assert!(bed.raised(0).is_empty(), "there is no route yet");
    assert_eq!((bed.pending(), ticket.outcome()), (1, None));
    bed.round();
    assert_eq!(ticket.outcome(), Some(Outcome::Done));
    assert_eq!(bed.raised(0), [0]);
    assert_eq!(bed.pending(), 0);
    bed.msix.raise(0);
    assert_eq!(bed.raised(0), [0]);
    let expected = [("interrupts_raised", 2), ("interrupts_pended", 2), ("routes_failed", 0)];
    assert_eq!(bed.msix.counters(), expected);
}

#[test]
fn a_mask_takes_effect_at_once() {
    let bed = enabled(2);
    assert!(bed.write(0, 3, 1).is_none());
    bed.msix.raise(0);
    bed.msix.raise(1);
    assert_eq!((bed.raised(0).len(), bed.raised(1).len(), bed.pending()), (0, 1, 1));
}

#[test]
fn the_function_mask_and_the_enable_bit_hold_all_vectors() {
    for held in [ENABLED | ALL_MASKED, 0, ALL_MASKED] {
        let mut bed = enabled(3);
        bed.set_control(held);
        for vector in 0..3 {
            bed.msix.raise(vector);
        }
        assert_eq!(bed.pending(), 0b111);
        assert!(bed.write(1, 3, 1).is_none());
        bed.set_control(ENABLED);
        assert_eq!([bed.raised(0).len(), bed.raised(1).len(), bed.raised(2).len()], [1, 0, 1]);
        assert_eq!(bed.pending(), 0b010);
    }
}

#[test]
fn a_new_message_under_a_mask_is_what_is_raised_after_it() {
    let mut bed = enabled(1);
    bed.write(0, 3, 1);
    bed.msix.raise(0);
    bed.program(0, 0x99);
    assert_eq!(bed.raised(0), [0x99]);
    let message = MsiMessage { address: 0xFEE0_1000, data: 0x99 };
    assert_eq!(bed.platform.lines()[0].message(), Some(message));
}

#[test]
fn a_new_message_without_a_mask_is_waited_for_and_loses_nothing() {
    let mut bed = enabled(1);
    let ticket = bed.write(0, 2, 0x77).unwrap();
    bed.msix.raise(0);
    assert!(bed.raised(0).is_empty());
    bed.round();
    assert_eq!((ticket.outcome(), bed.raised(0)), (Some(Outcome::Done), vec![0x77]));
}

#[test]
fn a_vector_that_changes_while_it_is_routed_stays_closed_until_the_next_round() {
    let mut bed = enabled(1);
    bed.write(0, 3, 1);
    bed.msix.raise(0);
    let ticket = bed.write(0, 3, 0).unwrap();
    let round = bed.attendant.begin().unwrap();
    // Between the attendant's look at the word and its opening, as the look at the control register is.
    bed.msix.reconcile(|| {
        bed.write(0, 2, 0x55);
        Some(MsixControl::of_register(ENABLED))
    });
    round.complete(Outcome::Done);
    assert_eq!(ticket.outcome(), Some(Outcome::Done));
    assert_eq!((bed.raised(0).len(), bed.pending()), (0, 1));
    bed.round();
    assert_eq!(bed.raised(0), [0x55]);
}

#[test]
fn the_same_message_again_needs_no_route() {
    let mut bed = enabled(1);
    let before = bed.platform.lines()[0].routed();
    bed.write(0, 3, 1);
    assert!(bed.write(0, 3, 0).is_some());
    bed.round();
    bed.msix.raise(0);
    assert_eq!((bed.platform.lines()[0].routed(), bed.raised(0).len()), (before, 1));
}

#[test]
fn a_route_that_fails_is_counted_tried_again_and_loses_nothing() {
    let mut bed = Bed::new(1);
    bed.set_control(ENABLED);
    bed.platform.lines()[0].refuse(true);
    bed.program(0, 5);
    bed.msix.raise(0);
    assert_eq!(bed.pending(), 1);
    assert_eq!(bed.msix.counters()[2], ("routes_failed", 1));
    bed.platform.lines()[0].refuse(false);
    bed.set_control(ENABLED);
    assert_eq!((bed.pending(), bed.raised(0)), (0, vec![5]));
}

#[test]
fn what_is_forgotten_is_not_raised() {
    let mut bed = Bed::new(1);
    bed.msix.raise(0);
    bed.msix.forget(0);
    bed.msix.forget(7);
    bed.set_control(ENABLED);
    bed.program(0, 1);
    assert!(bed.raised(0).is_empty());
}

#[test]
fn a_function_that_is_gone_has_no_routes() {
    let bed = enabled(2);
    bed.msix.retire();
    bed.msix.raise(0);
    assert!(bed.raised(0).is_empty());
    assert!(bed.platform.lines().iter().all(|line| line.message().is_none()));
}

#[test]
fn a_host_without_interrupts_is_an_error() {
    let bed = Bed::new(1);
    let (work, _attendant) =
        WorkItem::new(&Group::new(1, Box::new(NoKick)), &Arc::new(FutexWord::new(0)));
    bed.platform.refuse(true);
    assert!(Msix::new(&bed.platform, 1, &Arc::new(work)).is_err());
}

#[test]
fn accesses_of_8_bytes_are_two_registers_and_others_are_none() {
    let bed = Bed::new(2);
    let _ = bed.msix.write_table(16, &0x1122_3344_5566_7788_u64.to_le_bytes());
    let mut data = [0; 8];
    bed.msix.read_table(16, &mut data);
    assert_eq!(u64::from_le_bytes(data), 0x1122_3344_5566_7788);
    let written = bed.msix.write_table(24, &0xABCD_u64.to_le_bytes());
    assert!(matches!(written, Written::Wait(_)), "data, and the mask bit cleared");
    assert_eq!((bed.read(1, 2), bed.read(1, 3)), (0xABCD, 0));
    for (offset, len) in
        [(16, 1), (16, 2), (18, 4), (20, 8), (16, 16), (17, 3), (32, 4), (u64::MAX - 3, 4)]
    {
        assert!(matches!(bed.msix.write_table(offset, &vec![0; len]), Written::Done));
        let mut data = vec![0; len];
        bed.msix.read_table(offset, &mut data);
        assert!(data.iter().all(|byte| *byte == 0xFF), "{offset} {len}");
        bed.msix.read_pending(offset | 1, &mut data);
        assert!(data.iter().all(|byte| *byte == 0xFF), "{offset} {len}");
    }
    assert_eq!(bed.read(1, 0), 0x5566_7788);
}

#[test]
fn pending_bits_of_many_vectors() {
    let bed = Bed::new(100);
    for vector in [0, 31, 32, 63, 64, 99] {
        bed.msix.raise(vector);
    }
    let mut data = [0; 8];
    bed.msix.read_pending(0, &mut data);
    assert_eq!(u64::from_le_bytes(data), 1 << 63 | 1 << 32 | 1 << 31 | 1);
    bed.msix.read_pending(8, &mut data);
    assert_eq!(u64::from_le_bytes(data), 1 << 35 | 1);
    bed.msix.read_pending(16, &mut data);
    assert_eq!(data, [0; 8]);
}
