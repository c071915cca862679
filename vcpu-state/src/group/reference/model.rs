//! The model: what a group is, said as simply as it can be said.
//!
//! A pauser holds every slot or none, so that one list of holders says what every word counts, and one
//! count of requests says every epoch. A thread is in one of five places. Everything else is a `bool`.

use crate::{Illegal, OneShot, Outcome, Parked, Released, Step, Waited};

/// Where the thread of a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Unborn,
    Loop,
    Guest,
    Park,
    Gone,
}

/// What a member owes the guest: nothing, or a wait for a ticket that may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    Nothing,
    Ticket(Option<Outcome>),
}

/// One slot.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each on its own")]
pub(super) struct Slot {
    pub(super) place: Place,
    /// Somebody has, or had, the owner's end.
    pub(super) owned: bool,
    pub(super) killed: bool,
    pub(super) owed: Owed,
    pub(super) nmi: bool,
    pub(super) debug_stop: bool,
    pub(super) incarnation: u8,
}

/// How far a pauser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// It has asked, and did not wait yet.
    Asked,
    /// It has waited: everybody is still.
    Waited,
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) slots: Vec<Slot>,
    pub(super) holders: Vec<Holder>,
    pub(super) requests: u32,
    pub(super) deaths: u32,
    /// Wakes of those at their parks, and of those that wait for tickets: one each for a whole group,
    /// and none for nobody.
    pub(super) park_wakes: u32,
    pub(super) ticket_wakes: u32,
}

impl Slot {
    const NEW: Self = Self {
        place: Place::Unborn,
        owned: false,
        killed: false,
        owed: Owed::Nothing,
        nmi: false,
        debug_stop: false,
        incarnation: 0,
    };

    pub(super) fn runs(&self) -> bool {
        matches!(self.place, Place::Loop | Place::Guest | Place::Park)
    }

    pub(super) fn asked(&mut self, one_shot: OneShot) -> &mut bool {
        match one_shot {
            OneShot::Nmi => &mut self.nmi,
            OneShot::DebugStop => &mut self.debug_stop,
        }
    }
}

impl Model {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: vec![Slot::NEW; slots],
            holders: Vec::new(),
            requests: 0,
            deaths: 0,
            park_wakes: 0,
            ticket_wakes: 0,
        }
    }

    pub(super) fn held(&self) -> bool {
        !self.holders.is_empty()
    }

    /// Whether the pausers wait for this slot.
    pub(super) fn owes_ack(&self, slot: usize) -> bool {
        self.held() && matches!(self.slots[slot].place, Place::Loop | Place::Guest)
    }

    pub(super) fn those(&self, which: impl Fn(&Self, usize) -> bool) -> Vec<usize> {
        (0..self.slots.len()).filter(|slot| which(self, *slot)).collect()
    }

    /// Slots whose thread is at its park.
    pub(super) fn parked(&self) -> Vec<usize> {
        self.those(|model, slot| model.slots[slot].place == Place::Park)
    }

    /// Whether a member that is not at its park owes a wait for a ticket.
    pub(super) fn awaits_ticket(&self) -> bool {
        self.slots.iter().any(|slot| slot.place != Place::Park && slot.owed != Owed::Nothing)
    }

    /// These are killed.
    pub(super) fn kill(&mut self, slots: std::ops::Range<usize>) {
        let Some(killed) = self.slots.get_mut(slots) else { return };
        self.park_wakes += u32::from(killed.iter().any(|slot| slot.place == Place::Park));
        self.ticket_wakes += u32::from(killed.iter().any(|slot| slot.owed != Owed::Nothing));
        for slot in killed {
            slot.killed = true;
        }
    }

    /// Slots whose thread a kick reaches.
    pub(super) fn in_guest(&self) -> Vec<usize> {
        self.those(|model, slot| model.slots[slot].place == Place::Guest)
    }

    /// Whether a thread that is at its park, and awake, leaves it.
    pub(super) fn may_leave_park(&self, slot: usize) -> bool {
        self.slots[slot].killed || !self.held()
    }

    /// What a wait for the slot's ticket comes to, or `None` while it would go on.
    pub(super) fn wait_ticket(&mut self, slot: usize) -> Option<Waited> {
        let held = self.held();
        let slot = &mut self.slots[slot];
        if let Owed::Ticket(Some(outcome)) = slot.owed {
            slot.owed = Owed::Nothing;
            return Some(Waited::Done(outcome));
        }
        (slot.killed || held).then_some(Waited::Interrupted)
    }

    pub(super) fn next(&self, slot: usize) -> Step {
        let it = &self.slots[slot];
        if it.killed || it.place == Place::Gone {
            Step::Kill
        } else if self.held() {
            Step::Pause { epoch: self.requests }
        } else if it.owed != Owed::Nothing {
            Step::Ticket
        } else if it.nmi {
            Step::OneShot(OneShot::Nmi)
        } else if it.debug_stop {
            Step::OneShot(OneShot::DebugStop)
        } else {
            Step::Enter
        }
    }

    /// `Ok(true)`: it starts, and stays at its park.
    pub(super) fn start(&mut self, slot: usize) -> Result<bool, Illegal> {
        let held = self.held();
        let slot = &mut self.slots[slot];
        if slot.place != Place::Unborn {
            return Err(Illegal::WrongState);
        }
        if slot.killed {
            return Err(Illegal::Killed);
        }
        slot.place = if held { Place::Park } else { Place::Loop };
        Ok(held)
    }

    pub(super) fn enter(&mut self, slot: usize) -> Result<(), Illegal> {
        let next = self.next(slot);
        let it = &mut self.slots[slot];
        match (it.place, next) {
            (Place::Loop, Step::Enter) => it.place = Place::Guest,
            (Place::Unborn, _) => return Err(Illegal::WrongState),
            _ if it.killed => return Err(Illegal::Killed),
            (Place::Loop, _) => return Err(Illegal::Requested),
            _ => return Err(Illegal::WrongState),
        }
        Ok(())
    }

    /// `None`: it stays at its park.
    pub(super) fn park(&mut self, slot: usize, epoch: u32) -> Option<Parked> {
        let answers = self.held() && epoch == self.requests;
        let slot = &mut self.slots[slot];
        match slot.place {
            Place::Unborn => Some(Parked::Resumed),
            _ if slot.killed => Some(Parked::Killed),
            Place::Loop if answers => {
                slot.place = Place::Park;
                None
            }
            _ => Some(Parked::Resumed),
        }
    }

    pub(super) fn begin_ticket(&mut self, slot: usize) -> Result<(), Illegal> {
        let slot = &mut self.slots[slot];
        if slot.place != Place::Loop || slot.owed != Owed::Nothing {
            return Err(Illegal::WrongState);
        }
        slot.owed = Owed::Ticket(None);
        Ok(())
    }

    pub(super) fn take(&mut self, slot: usize, one_shot: OneShot) -> bool {
        let slot = &mut self.slots[slot];
        slot.runs() && !slot.killed && std::mem::take(slot.asked(one_shot))
    }

    pub(super) fn ask(&mut self, slot: usize, one_shot: OneShot) -> Result<(), Illegal> {
        let slot = &mut self.slots[slot];
        if slot.place == Place::Gone {
            return Err(Illegal::Dead);
        }
        if slot.killed {
            return Err(Illegal::Killed);
        }
        *slot.asked(one_shot) = true;
        Ok(())
    }

    pub(super) fn die(&mut self, slot: usize) {
        let it = &mut self.slots[slot];
        let (killed, incarnation) = (it.killed, it.incarnation);
        *it = Slot { place: Place::Gone, owned: true, killed, incarnation, ..Slot::NEW };
        self.deaths += 1;
    }

    pub(super) fn reincarnate(&mut self, slot: usize) -> Result<(), Illegal> {
        let slot = &mut self.slots[slot];
        if slot.place != Place::Gone {
            return Err(Illegal::WrongState);
        }
        *slot = Slot { incarnation: slot.incarnation.wrapping_add(1), ..Slot::NEW };
        Ok(())
    }

    /// The pauser with this number lets go, and wakes the sleepers itself.
    pub(super) fn release(&mut self, holder: usize) -> Released {
        let released = self.release_unwoken(holder);
        let sleepers = released == Released::Running && !self.parked().is_empty();
        self.park_wakes += u32::from(sleepers);
        released
    }

    /// The pauser with this number lets go.
    pub(super) fn release_unwoken(&mut self, holder: usize) -> Released {
        self.holders.swap_remove(holder);
        if self.held() { Released::StillHeld } else { Released::Running }
    }
}
