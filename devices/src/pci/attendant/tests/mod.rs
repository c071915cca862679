//! What the attendant makes of registers: a guest, and the world around it.
mod arranged;
mod bars;
mod ends;
mod model;
mod threads;

use std::sync::Arc;

use vcpu_state::{Outcome, Ticket};

use super::PciAttendant;
use crate::counters::CounterSource;
use crate::event::Event;
use crate::pci::config::BarSpace;
use crate::pci::function::{BarDoorbell, BarIndex, PciFunction};
use crate::pci::segment::Slot;
use crate::pci::testing::{Bed, Tagged};

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
        let [low, high] = [gpa & 0xFFFF_FFFF, gpa >> 32].map(u64::to_le_bytes);
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
