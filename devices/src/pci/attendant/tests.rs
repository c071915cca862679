//! BARs that move, alone and at each other, and what the hypervisor is told.
use std::sync::Arc;

use proptest::prelude::*;
use vcpu_state::{Outcome, Ticket};

use super::*;
use crate::bus::{AddressRange, Written};
use crate::counters::CounterSource;
use crate::event::Event;
use crate::pci::config::{BarSpace, ConfigBuilder, ConfigSpace};
use crate::pci::function::{BarDoorbell, BarIndex};
use crate::pci::msix::{Msix, MsixPlacement};
use crate::pci::testing::{Bed, Tagged};
use crate::sync::atomic::{AtomicBool, Ordering};

const LEN: u64 = 0x1000;
const DOORBELL: u64 = 0x20;
/// The BAR that tests move, and its register.
const BAR: BarIndex = BarIndex(0);
const REGISTER: u16 = 0x10;
const MEMORY: u8 = 2;

fn function(tag: u8) -> Arc<Tagged> {
    let doorbell =
        BarDoorbell { bar: BAR, offset: DOORBELL, event: Arc::new(Event::new().unwrap()) };
    let tagged =
        Tagged::new(tag, &[(0, BarSpace::Memory64, LEN), (2, BarSpace::Io, 0x10)]).unwrap();
    Arc::new(tagged.with_doorbells(vec![doorbell]))
}

/// A segment with functions 1 to `count`, which decode memory.
struct Guest {
    bed: Bed,
    attendant: PciAttendant,
    functions: Vec<Arc<Tagged>>,
}

impl Guest {
    fn new(count: u8) -> Self {
        let (bed, attendant) = Bed::new().unwrap();
        let functions: Vec<_> = (1..=count).map(function).collect();
        for function in &functions {
            bed.segment.insert(&function.shared()).unwrap();
        }
        let mut guest = Self { bed, attendant, functions };
        for tag in 1..=count {
            let _ = guest.bed.write_config(slot(tag), 4, &[MEMORY]);
        }
        guest.attendant.round();
        guest
    }

    fn gpa(&self, tag: u8) -> u64 {
        self.functions[usize::from(tag) - 1].config().bar(BAR).unwrap().gpa
    }

    /// Writes both halves of a BAR, as a vCPU that waits for no ticket in between would.
    fn place(&self, tag: u8, gpa: u64) -> Vec<Ticket> {
        let [low, high] = [gpa & 0xFFFF_FFFF, gpa >> 32].map(|half| half.to_le_bytes());
        let mut tickets = self.bed.write_config(slot(tag), REGISTER, &low[..4]);
        tickets.extend(self.bed.write_config(slot(tag), REGISTER + 4, &high[..4]));
        tickets
    }

    /// The world is what the registers say: where they agree with nobody else's, the function answers, with
    /// its doorbell; nobody answers anywhere else.
    fn check(&self) {
        let wanted: Vec<(u8, u64)> = (1..)
            .zip(&self.functions)
            .filter_map(|(tag, function)| Some((tag, function.config().bar(BAR)?.answers_at()?)))
            .collect();
        let claims = self.bed.mmio.claims();
        let answering = claims.iter().filter(|(_, name)| name == "tagged");
        let answering: Vec<u64> = answering.map(|(range, _)| range.first()).collect();
        for first in &answering {
            let tag = self.bed.read_memory(*first);
            assert!(wanted.contains(&(tag, *first)), "{tag} answers at {first:#x}");
        }
        for (tag, gpa) in &wanted {
            let overlaps = |other: u64| other < gpa + LEN && *gpa < other + LEN;
            let contested = wanted.iter().any(|(other, at)| other != tag && overlaps(*at));
            let free = !contested && !(Bed::ECAM - LEN + 1..Bed::ECAM + 0x10_0000).contains(gpa);
            if free {
                assert_eq!(self.bed.read_memory(*gpa), *tag, "{tag} should answer at {gpa:#x}");
            }
        }
        let doorbells: Vec<u64> = answering.iter().map(|first| first + DOORBELL).collect();
        assert_eq!(self.bed.platform.doorbells(), doorbells);
        assert_eq!(self.bed.platform.mistakes(), 0);
    }

    fn refused(&self) -> u64 {
        let counters = self.bed.segment.counters();
        counters.into_iter().find(|(name, _)| *name == "bars_refused").unwrap().1
    }
}

fn slot(number: u8) -> Slot {
    Slot::new(number).unwrap()
}

fn done(tickets: &[Ticket]) -> bool {
    tickets.iter().all(|ticket| ticket.outcome() == Some(Outcome::Done))
}

#[test]
fn a_bar_answers_when_the_guest_lets_it_and_no_longer() {
    let mut guest = Guest::new(1);
    let gpa = guest.gpa(1);
    assert_eq!((guest.bed.read_memory(gpa), guest.bed.read_memory(gpa + LEN - 1)), (1, 1));
    assert_eq!(guest.bed.read_memory(gpa + LEN), 0xFF);
    guest.bed.mmio.write(gpa, &[0], |_| panic!("nothing to wait for"));
    assert_eq!(guest.functions[0].writes(), 1);
    guest.check();
    let tickets = guest.bed.write_config(slot(1), 4, &[0]);
    assert!(!done(&tickets));
    guest.attendant.round();
    assert!(done(&tickets));
    assert_eq!(guest.bed.read_memory(gpa), 0xFF);
    guest.check();
    assert!(guest.functions[0].reconciled() >= 2);
}

#[test]
fn a_bar_of_ports_answers_on_the_ports() {
    let mut guest = Guest::new(1);
    let port = guest.functions[0].config().bar(BarIndex(2)).unwrap().gpa;
    let read = |guest: &Guest, port| {
        let mut data = [0];
        guest.bed.pio.read(port, &mut data);
        data[0]
    };
    assert_eq!(read(&guest, port), 0xFF);
    let _ = guest.bed.write_config(slot(1), 4, &[1]);
    guest.attendant.round();
    assert_eq!((read(&guest, port), guest.bed.read_memory(guest.gpa(1))), (1, 0xFF));
    let _ = guest.bed.write_config(slot(1), 0x18, &0x2000_u32.to_le_bytes());
    guest.attendant.round();
    assert_eq!((read(&guest, port), read(&guest, 0x2000)), (0xFF, 1));
}

#[test]
fn asking_for_the_size_while_it_answers_brings_it_back() {
    let mut guest = Guest::new(1);
    let gpa = guest.gpa(1);
    let _ = guest.place(1, u64::MAX);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(gpa), 0xFF);
    guest.check();
    let _ = guest.place(1, gpa);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(gpa), 1);
    guest.check();
}

#[test]
fn bars_that_exchange_their_places_do() {
    let mut guest = Guest::new(3);
    let places = [guest.gpa(1), guest.gpa(2), guest.gpa(3)];
    let mut tickets = guest.place(1, places[1]);
    tickets.extend(guest.place(2, places[2]));
    tickets.extend(guest.place(3, places[0]));
    guest.attendant.round();
    assert!(done(&tickets));
    assert_eq!(places.map(|gpa| guest.bed.read_memory(gpa)), [3, 1, 2]);
    assert_eq!(guest.refused(), 0);
    guest.check();
}

#[test]
fn bars_that_follow_each_other_do() {
    let mut guest = Guest::new(3);
    let places = [guest.gpa(1), guest.gpa(2), guest.gpa(3), 0x1_0000_0000];
    for tag in 1..=3 {
        let _ = guest.place(tag, places[usize::from(tag)]);
    }
    guest.attendant.round();
    assert_eq!(places.map(|gpa| guest.bed.read_memory(gpa)), [0xFF, 1, 2, 3]);
    assert_eq!(guest.refused(), 0);
    guest.check();
}

#[test]
fn a_bar_over_another_device_is_unmapped_counted_once_and_tried_again() {
    let mut guest = Guest::new(2);
    let (first, second) = (guest.gpa(1), guest.gpa(2));
    let tickets = guest.place(1, second);
    guest.attendant.round();
    assert!(done(&tickets), "the guest goes on");
    assert_eq!((guest.bed.read_memory(first), guest.bed.read_memory(second)), (0xFF, 2));
    assert_eq!(guest.refused(), 1);
    let _ = guest.bed.write_config(slot(1), 4, &[MEMORY]);
    guest.attendant.round();
    assert_eq!(guest.refused(), 1);
    guest.check();
    let _ = guest.bed.write_config(slot(2), 4, &[0]);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(second), 1);
    guest.check();
}

#[test]
fn a_bar_does_not_take_the_platforms_place() {
    let mut guest = Guest::new(1);
    let _ = guest.place(1, Bed::ECAM + 0x8000);
    guest.attendant.round();
    assert_eq!(guest.bed.read_config(slot(1), 0), 0x1042_1AF4);
    assert_eq!(guest.refused(), 1);
    guest.check();
    let _ = guest.place(1, u64::MAX << 12 & !0x1000);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(!0x1FFF), 1, "the last place but one");
}

#[test]
fn without_doorbells_writes_reach_the_function() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let function = function(1);
    bed.segment.insert(&function.shared()).unwrap();
    bed.platform.refuse(true);
    let tickets = bed.write_config(slot(1), 4, &[MEMORY]);
    attendant.round();
    assert!(done(&tickets));
    let gpa = function.config().bar(BAR).unwrap().gpa;
    bed.mmio.write(gpa + DOORBELL, &[0; 2], |_| {});
    assert_eq!((function.writes(), bed.platform.doorbells().len()), (1, 0));
    bed.platform.refuse(false);
    let _ = bed.write_config(slot(1), 4, &[MEMORY]);
    attendant.round();
    assert_eq!(bed.platform.doorbells(), [gpa + DOORBELL]);
}

#[test]
fn an_ejected_function_has_no_place_no_doorbell_and_no_route() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let placement = MsixPlacement {
        vectors: 1,
        table_bar: BAR,
        table_offset: 0x800,
        pending_bar: BAR,
        pending_offset: 0xC00,
    };
    let mut builder = ConfigBuilder::new(Tagged::IDENTITY);
    builder.add_bar(BAR, BarSpace::Memory32, LEN).unwrap();
    let capability = u16::from(builder.add_msix(placement).unwrap());
    let msix = Msix::new(&*bed.platform, 1, bed.segment.work()).unwrap();
    let function = Arc::new(Tagged::with_config(1, builder.build()).with_msix(msix));
    let at = bed.segment.insert(&function.shared()).unwrap();
    let line = Arc::clone(&bed.platform.lines()[0]);
    let msix = function.msix().unwrap();
    for register in 0..4 {
        let _ = msix.write_table(4 * register, &[0; 4]);
    }
    attendant.round();
    assert_eq!(line.message(), None, "MSI-X is not enabled");
    let tickets = bed.write_config(at, capability + 2, &[0, 0x80]);
    attendant.round();
    assert!(tickets.len() == 1 && done(&tickets));
    msix.raise(0);
    assert_eq!(line.raised().len(), 1);
    let _ = bed.write_config(at, capability + 2, &[0, 0xC0]);
    msix.raise(0);
    assert!(line.raised().is_empty(), "masked as a whole, at once");
    let _ = bed.write_config(at, 4, &[MEMORY]);
    attendant.round();
    bed.segment.remove(at).unwrap();
    attendant.round();
    assert_eq!((line.message(), bed.mmio.claims().len()), (None, 1));
    assert_eq!((bed.platform.doorbells().len(), bed.platform.mistakes()), (0, 0));
}

/// Does what it is told to in a round.
struct Panicking(ConfigSpace);

impl PciFunction for Panicking {
    fn name(&self) -> &'static str {
        "panicking"
    }
    fn config(&self) -> &ConfigSpace {
        &self.0
    }
    fn read_bar(&self, _bar: BarIndex, _offset: u64, _data: &mut [u8]) {}
    fn write_bar(&self, _bar: BarIndex, _offset: u64, _data: &[u8]) -> Written {
        Written::Done
    }
    fn reconcile(&self) {
        panic!("in the middle of a round");
    }
}

#[test]
fn an_attendant_that_panics_fails_its_tickets_and_all_later_ones() {
    let (bed, attendant) = Bed::new().unwrap();
    let ids = ConfigBuilder::new(Tagged::IDENTITY).build();
    let function: Arc<dyn PciFunction> = Arc::new(Panicking(ids));
    bed.segment.insert(&function).unwrap();
    let asked = bed.write_config(slot(1), 4, &[MEMORY]);
    assert!(std::thread::spawn(|| attendant.run()).join().is_err());
    let late = bed.write_config(slot(1), 4, &[MEMORY]);
    assert_eq!(asked[0].outcome(), Some(Outcome::Failed));
    assert_eq!(late[0].outcome(), Some(Outcome::Failed));
}

#[test]
fn a_stop_ends_it() {
    let (bed, attendant) = Bed::new().unwrap();
    let thread = std::thread::spawn(|| attendant.run());
    bed.segment.stop();
    thread.join().unwrap();
    let late = bed.write_config(Slot::HOST_BRIDGE, 4, &[MEMORY]);
    assert_eq!(late[0].outcome(), Some(Outcome::Failed));
}

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

/// Two vCPUs move the BARs of two functions among places of which some are the first's only, some the second's
/// only and some both's, while two more read there, and the attendant serves.
#[test]
fn while_bars_move_an_access_reaches_the_right_function_or_nobody() {
    const MOVES: u64 = 1_500;
    let place = |index: u64| 0xD000_0000 + index * LEN;
    let guest = Guest::new(2);
    let Guest { bed, attendant, functions } = guest;
    let stop = AtomicBool::new(false);
    let moving = |tag: u8, first: u64| {
        // Places 0 to 2 are the first's, 2 to 4 the second's; the upper half of the BAR is 0 from the start.
        let bed = &bed;
        move || {
            for turn in 0..MOVES {
                let low = u32::try_from(place(first + turn % 3)).unwrap().to_le_bytes();
                for ticket in bed.write_config(slot(tag), REGISTER, &low) {
                    while ticket.outcome().is_none() {
                        std::thread::yield_now();
                    }
                    assert_eq!(ticket.outcome(), Some(Outcome::Done));
                }
            }
        }
    };
    for tag in [1, 2] {
        bed.write_config(slot(tag), REGISTER + 4, &[0; 4]);
    }
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| attendant.run());
        let vcpus = [scope.spawn(moving(1, 0)), scope.spawn(moving(2, 2))];
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for index in 0..5 {
                        let tag = bed.read_memory(place(index));
                        let allowed: &[u8] = match index {
                            0 | 1 => &[1, 0xFF],
                            2 => &[1, 2, 0xFF],
                            _ => &[2, 0xFF],
                        };
                        assert!(allowed.contains(&tag), "{tag} answers at place {index}");
                    }
                }
            });
        }
        let ended = vcpus.map(std::thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        bed.segment.stop();
        serving.join().unwrap();
        assert!(ended.iter().all(Result::is_ok));
    });
    // The attendant has answered every write.
    for (tag, function) in (1..).zip(&functions) {
        let gpa = function.config().bar(BAR).unwrap().gpa;
        assert_eq!(bed.read_memory(gpa), tag);
    }
    assert_eq!(bed.platform.mistakes(), 0);
}

/// Every map that anybody can see has it at one of the two.
#[test]
fn a_bar_that_moves_is_never_at_two_places() {
    let mut guest = Guest::new(1);
    let (here, there) = (0xD000_0000, 0xD000_1000);
    let _ = guest.place(1, here);
    guest.attendant.round();
    let range = |at| AddressRange::<Mmio>::new(at, LEN).unwrap();
    let Guest { bed, mut attendant, .. } = guest;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let claims = bed.mmio.claims();
                let at = |at| claims.iter().filter(|(claim, _)| *claim == range(at)).count();
                assert_eq!(at(here) + at(there), 1, "{claims:?}");
            }
        });
        for turn in 0..3_000 {
            let to: u32 = if turn % 2 == 0 { 0xD000_1000 } else { 0xD000_0000 };
            let _ = bed.write_config(slot(1), REGISTER, &to.to_le_bytes());
            attendant.round();
        }
        stop.store(true, Ordering::Relaxed);
        looking.join().unwrap();
    });
}
