//! The word of one vCPU's slot, and the one function that says what may follow what.
//!
//! ```text
//!             insert                 guest: INSERTING             ask_removal
//!   Absent ───────────▶ Inserting ─────────────────▶ Present ◀───────────────▶ Removing
//!     ▲                     │                           │         cancel          │
//!     │ vacate              └───────────── guest: EJECT ┴─────────────────────────┤
//!     └──────────────────────────────────────────────── Ejected ◀─────────────────┘
//! ```
//!
//! Bits 0 to 2 are what the guest reads. The guest acknowledges INSERTING and REMOVING, each when it has heard of it; ASKED, which it
//! does not see, stays until it ejects or the host changes its mind. EJECTED reads as absent.
//!
//! Invariants: a slot is Absent again only by the host's `vacate`, which follows the end of the vCPU's thread; nothing
//! that the guest writes makes a vCPU present.

/// Reads as one while the vCPU is there for the guest.
pub(super) const ENABLED: u32 = 1 << 0;
/// It has come and the guest has not acknowledged that.
pub(super) const INSERTING: u32 = 1 << 1;
/// It is to go and the guest has not acknowledged that.
pub(super) const REMOVING: u32 = 1 << 2;
/// Written as one: the guest has let go of it.
pub(super) const EJECT: u32 = 1 << 3;
/// The host wants it back.
const ASKED: u32 = 1 << 8;
/// The guest has let go of it, and its thread is not known to have ended.
const EJECTED: u32 = 1 << 9;

/// What the guest can read.
const VISIBLE: u32 = ENABLED | INSERTING | REMOVING;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// No vCPU.
    Absent,
    /// A vCPU that the guest has not heard of yet.
    Inserting,
    /// A vCPU.
    Present,
    /// A vCPU that the host wants back.
    Removing,
    /// A vCPU that the guest has let go of, whose thread has still to end.
    Ejected,
}

/// Whether the guest may let go of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ejectable {
    Yes,
    /// The vCPU that the guest was booted on.
    No,
}

/// Something that changes a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Host: a vCPU is there, thread and all.
    Insert,
    /// Host: the guest is to let go of it.
    AskRemoval,
    /// Host: it may stay.
    Cancel,
    /// Host: its thread has ended.
    Vacate,
    /// Guest: a write of the status register.
    Write { value: u32, ejectable: Ejectable },
}

/// A slot's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    pub(super) const ABSENT: Self = Self(0);
    pub(super) const PRESENT: Self = Self(ENABLED);

    /// Whether steps can lead to it.
    pub(super) const fn is_coherent(self) -> bool {
        let there = self.any(ENABLED)
            && self.0 & !(VISIBLE | ASKED) == 0
            && (!self.any(REMOVING) || self.any(ASKED));
        matches!(self.0, 0 | EJECTED) || there
    }

    const fn any(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// What the guest reads.
    pub(super) const fn status(self) -> u32 {
        self.0 & VISIBLE
    }

    /// Whether the guest has something to acknowledge.
    pub(super) const fn has_news(self) -> bool {
        self.any(INSERTING | REMOVING)
    }

    pub(super) const fn presence(self) -> Presence {
        if self.any(EJECTED) {
            Presence::Ejected
        } else if !self.any(ENABLED) {
            Presence::Absent
        } else if self.any(ASKED) {
            Presence::Removing
        } else if self.any(INSERTING) {
            Presence::Inserting
        } else {
            Presence::Present
        }
    }

    /// What a step makes of it, or `None` if that changes nothing. Pure and total.
    pub(super) const fn next(self, step: Step) -> Option<Self> {
        let next = match (step, self.presence()) {
            (Step::Insert, Presence::Absent) => ENABLED | INSERTING,
            (Step::AskRemoval, Presence::Inserting | Presence::Present) => {
                self.0 | ASKED | REMOVING
            }
            (Step::Cancel, Presence::Removing) => self.0 & !(ASKED | REMOVING),
            (Step::Vacate, Presence::Ejected) => 0,
            (
                Step::Write { value, ejectable },
                Presence::Inserting | Presence::Present | Presence::Removing,
            ) => self.written(value, ejectable),
            _ => return None,
        };
        if next == self.0 { None } else { Some(Self(next)) }
    }

    const fn written(self, value: u32, ejectable: Ejectable) -> u32 {
        if value & EJECT != 0 && matches!(ejectable, Ejectable::Yes) {
            return EJECTED;
        }
        self.0 & !(value & (INSERTING | REMOVING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: u32 = 16;

    fn steps() -> impl Iterator<Item = Step> {
        let host = [Step::Insert, Step::AskRemoval, Step::Cancel, Step::Vacate];
        let writes = (0..VALUES).flat_map(|value| {
            [Ejectable::Yes, Ejectable::No].map(|ejectable| Step::Write { value, ejectable })
        });
        host.into_iter().chain(writes)
    }

    /// Every word that a slot can come to.
    fn reachable() -> Vec<Slot> {
        let mut found = vec![Slot::ABSENT, Slot::PRESENT];
        let mut looked_at = 0;
        while let Some(slot) = found.get(looked_at).copied() {
            looked_at += 1;
            for next in steps().filter_map(|step| slot.next(step)) {
                if !found.contains(&next) {
                    found.push(next);
                }
            }
        }
        found
    }

    #[test]
    fn every_word_can_be_left() {
        let all = reachable();
        assert_eq!(all.len(), 8, "{all:?}");
        for slot in all {
            assert!(steps().any(|step| slot.next(step).is_some()), "{slot:?} is a trap");
        }
    }

    #[test]
    fn nothing_that_the_guest_writes_makes_a_vcpu_present() {
        for slot in reachable() {
            for step in steps().filter(|step| matches!(step, Step::Write { .. })) {
                let Some(next) = slot.next(step) else { continue };
                assert_eq!(next.status() & !slot.status(), 0, "{slot:?} {step:?} {next:?}");
                let gone = [Presence::Absent, Presence::Ejected];
                assert!(!gone.contains(&slot.presence()), "{slot:?} {step:?} {next:?}");
                assert_ne!(next.presence(), Presence::Absent);
            }
        }
    }

    #[test]
    fn a_slot_is_absent_only_after_the_host_has_vacated_it() {
        for slot in reachable() {
            for step in steps() {
                let to_absent = slot.next(step).is_some_and(|n| n.presence() == Presence::Absent);
                let vacated = step == Step::Vacate && slot.presence() == Presence::Ejected;
                assert_eq!(to_absent, vacated, "{slot:?} {step:?}");
            }
        }
    }

    #[test]
    fn the_first_vcpu_cannot_be_ejected() {
        for slot in reachable() {
            for value in 0..VALUES {
                let next = slot.next(Step::Write { value, ejectable: Ejectable::No });
                assert!(next.is_none_or(|next| next.presence() != Presence::Ejected), "{slot:?}");
            }
        }
    }

    #[test]
    fn a_removal_that_was_taken_back_leaves_no_trace() {
        for slot in reachable() {
            let Some(asked) = slot.next(Step::AskRemoval) else { continue };
            assert_eq!(asked.presence(), Presence::Removing);
            assert_eq!(asked.next(Step::Cancel), Some(slot));
            let heard = Step::Write { value: REMOVING, ejectable: Ejectable::Yes };
            assert_eq!(asked.next(heard).and_then(|heard| heard.next(Step::Cancel)), Some(slot));
        }
    }
}
