//! One entry of the table: a message, the vector's word, and the line behind it.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::capability::MsixControl;
use super::saved::SavedVector;
use super::vector::{Effect, Event, MASKED, OPEN, PENDING, Vector, transition};
use crate::pci::platform::{MsiLine, MsiMessage};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Registers of an entry.
const ADDRESS_LOW: usize = 0;
const ADDRESS_HIGH: usize = 1;
const DATA: usize = 2;

pub(super) struct Entry {
    word: AtomicU64,
    /// Address, upper address, data.
    message: [AtomicU32; 3],
    /// Where the line is routed; the attendant's alone.
    routed: ArcSwapOption<MsiMessage>,
    line: Arc<dyn MsiLine>,
}

impl Entry {
    pub(super) fn new(line: Arc<dyn MsiLine>) -> Self {
        let zero = || AtomicU32::new(0);
        Self {
            word: AtomicU64::new(Vector::RESET.0),
            message: [zero(), zero(), zero()],
            routed: ArcSwapOption::empty(),
            line,
        }
    }

    /// Puts an event into effect.
    pub(super) fn apply(&self, event: Event) -> Effect {
        let mut now = self.load();
        loop {
            let (next, effect) = transition(now, event);
            // What changes nothing is written all the same: a raise that finds the vector pending already has to
            // be sure that nobody has delivered that one meanwhile.
            // AcqRel: a message that was written before a `Close` is seen by the attendant that sees its
            // generation.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.word.compare_exchange_weak(now.0, next.0, success, failure) {
                Ok(_) => return effect,
                Err(seen) => now = Vector(seen),
            }
        }
    }

    pub(super) fn read(&self, register: usize) -> u32 {
        match self.message.get(register) {
            // Relaxed: plain memory to the guest.
            Some(part) => part.load(Ordering::Relaxed),
            None => u32::from(self.load().has(MASKED)),
        }
    }

    pub(super) fn write(&self, register: usize, value: u32) -> Effect {
        let Some(part) = self.message.get(register) else {
            return self.apply(if value & 1 != 0 { Event::Mask } else { Event::Unmask });
        };
        // An address is a multiple of 4.
        let value = if register == ADDRESS_LOW { value & !3 } else { value };
        // Relaxed: the compare-and-swap that follows publishes it.
        part.store(value, Ordering::Relaxed);
        self.apply(Event::Close)
    }

    /// What a guest can tell of it, while nobody touches it.
    pub(super) fn save(&self) -> SavedVector {
        let (word, message) = (self.load(), self.message());
        SavedVector {
            address: message.address,
            data: message.data,
            masked: word.has(MASKED),
            pending: word.has(PENDING),
        }
    }

    /// Makes it that: closed, so that the attendant sets its route and opens it, if it is to be open.
    pub(super) fn restore(&self, saved: &SavedVector) {
        let address = saved.address.to_le_bytes();
        let words = address.as_chunks().0.iter().copied().chain([saved.data.to_le_bytes()]);
        for (part, word) in self.message.iter().zip(words) {
            // Relaxed: the compare-and-swap that follows publishes it.
            part.store(u32::from_le_bytes(word), Ordering::Relaxed);
        }
        self.apply(Event::Close);
        self.apply(if saved.masked { Event::Mask } else { Event::Unmask });
        self.apply(if saved.pending { Event::Raise } else { Event::Forget });
    }

    pub(super) fn is_pending(&self) -> bool {
        self.load().has(PENDING)
    }

    pub(super) fn raise(&self) {
        self.line.raise();
    }

    /// Routes the line and opens the vector, if it is to be open and is not.
    pub(super) fn open(&self, control: impl Fn() -> Option<MsixControl>) -> io::Result<Effect> {
        // First the generation, then what it is a generation of: a change that is not seen below is followed
        // by a `Close`, and that refuses the opening or undoes it.
        let seen = self.load();
        let lets_through = control().is_some_and(MsixControl::lets_through);
        if seen.has(MASKED) || seen.has(OPEN) || !lets_through {
            return Ok(Effect::Nothing);
        }
        self.route(self.message())?;
        Ok(self.apply(Event::Open(seen.generation())))
    }

    /// Takes the route away.
    pub(super) fn unroute(&self) {
        if self.routed.swap(None).is_some() {
            // A line that cannot lose its route loses it with its end.
            let _ = self.line.route(None);
        }
    }

    fn route(&self, message: MsiMessage) -> io::Result<()> {
        if self.routed.load().as_deref() == Some(&message) {
            return Ok(());
        }
        // If the line refuses, nobody knows where the route leads.
        self.routed.store(None);
        self.line.route(Some(message))?;
        self.routed.store(Some(Arc::new(message)));
        Ok(())
    }

    fn message(&self) -> MsiMessage {
        // Relaxed: the load of the generation has acquired what was written before it changed.
        let part = |register: usize| {
            self.message.get(register).map_or(0, |part| part.load(Ordering::Relaxed))
        };
        let address = u64::from(part(ADDRESS_HIGH)) << 32 | u64::from(part(ADDRESS_LOW));
        MsiMessage { address, data: part(DATA) }
    }

    /// Acquire: pairs with the release in `apply`.
    fn load(&self) -> Vector {
        Vector(self.word.load(Ordering::Acquire))
    }
}
