//! One MSI-X vector's word, and how it changes.
//!
//! | bits | field | |
//! |---|---|---|
//! | 0 | MASKED | vector control bit 0, as the guest reads and writes it |
//! | 1 | PENDING | an interrupt came while the vector was not open |
//! | 2 | OPEN | it is routed to the message that the registers hold, and nothing masks it |
//! | 8–63 | GENERATION | how often it was closed, or could have been |
//!
//! ```text
//!            ┌────────────── mask, a new message, the function masks or disables ─────────────┐
//!            ▼                                                                                │
//!        closed ──raise──▶ closed, pending          attendant: Open(generation)               │
//!            └──────────────────┴───────── the route is in place, nothing came between ────▶ open ──raise──▶ (delivered)
//! ```
//!
//! Anybody closes a vector, at once. Only the attendant opens it: it notes the generation, looks at the registers,
//! sets the route, and opens the vector if the generation is still the same. Who closes a vector that is
//! to be opened again asks for a round afterwards, so an opening that was refused comes again.
//!
//! Invariants: OPEN excludes MASKED and PENDING; an interrupt is delivered by the one whose compare-and-swap saw
//! the vector open, or took PENDING away.

pub(super) const MASKED: u64 = 1 << 0;
pub(super) const PENDING: u64 = 1 << 1;
pub(super) const OPEN: u64 = 1 << 2;
const GENERATION: u64 = !0xFF;
const GENERATION_ONE: u64 = 1 << 8;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vector(pub(super) u64);

/// How often a vector was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u64);

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The device has an interrupt.
    Raise,
    /// The guest sets the mask bit.
    Mask,
    /// The guest clears the mask bit.
    Unmask,
    /// The message is another one, or the function as a whole does not interrupt.
    Close,
    /// The attendant has looked at the registers and set the route since this generation.
    Open(Generation),
    /// What is pending is not wanted any more.
    Forget,
}

/// What must be done, once the word has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Nothing,
    /// The interrupt is delivered.
    Deliver,
    /// The interrupt has become pending (or was already).
    Pended,
    /// The attendant has to look.
    Ask,
}

impl Vector {
    /// After a reset: masked.
    pub(super) const RESET: Self = Self(MASKED);

    pub(super) const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    pub(super) const fn generation(self) -> Generation {
        Generation(self.0 & GENERATION)
    }

    const fn set(self, bit: u64) -> Self {
        Self(self.0 | bit)
    }

    const fn without(self, bit: u64) -> Self {
        Self(self.0 & !bit)
    }

    /// Not open, and of a generation that no opening knows.
    const fn closed(self) -> Self {
        let generation = (self.0 & GENERATION).wrapping_add(GENERATION_ONE);
        Self(self.0 & !GENERATION | generation).without(OPEN)
    }
}

/// The word after an event, and what is to be done.
pub(super) const fn transition(now: Vector, event: Event) -> (Vector, Effect) {
    match event {
        Event::Raise if now.has(OPEN) => (now, Effect::Deliver),
        Event::Raise => (now.set(PENDING), Effect::Pended),
        Event::Mask if now.has(MASKED) => (now, Effect::Nothing),
        Event::Mask => (now.closed().set(MASKED), Effect::Nothing),
        // Who finds it unmasked waits all the same: another's unmasking may be on its way.
        Event::Unmask => (now.without(MASKED), Effect::Ask),
        // A masked vector is looked at when it is unmasked.
        Event::Close if now.has(MASKED) => (now.closed(), Effect::Nothing),
        Event::Close => (now.closed(), Effect::Ask),
        Event::Open(seen) => {
            if now.has(MASKED) || now.has(OPEN) || now.generation().0 != seen.0 {
                (now, Effect::Nothing)
            } else if now.has(PENDING) {
                (now.without(PENDING).set(OPEN), Effect::Deliver)
            } else {
                (now.set(OPEN), Effect::Nothing)
            }
        }
        Event::Forget => (now.without(PENDING), Effect::Nothing),
    }
}
