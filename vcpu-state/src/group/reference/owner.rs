//! The owner's steps.

use super::Epoch;
use super::model::Place;
use super::world::{Asleep, Thread, World};
use crate::{Event, Illegal, OneShot, Parked, Step, Ticket, Waited, Word, transition};

impl World {
    /// The owner's loop, one step of it.
    pub(super) fn follow(&mut self, slot: usize) {
        let Some(thread) = &mut self.threads[slot] else { return self.own(slot) };
        match (thread.asleep, self.model.slots[slot].place) {
            (Some(Asleep::Park(_)), _) => return self.look_up(slot),
            (Some(Asleep::Ticket(_)), _) => return self.wait_ticket(slot),
            (None, Place::Unborn) => return self.start(slot),
            (None, Place::Guest) => {
                thread.member.leave();
                self.model.slots[slot].place = Place::Loop;
                return;
            }
            (None, _) => {}
        }
        match thread.member.next() {
            Step::Kill => self.die(slot),
            Step::Pause { .. } => self.park(slot, Epoch::Newest),
            Step::Ticket => self.wait_ticket(slot),
            Step::OneShot(one_shot) => self.take(slot, one_shot),
            Step::Enter => self.enter(slot),
        }
    }

    pub(super) fn own(&mut self, slot: usize) {
        let member = self.group.member(slot);
        assert_eq!(member.is_some(), !self.model.slots[slot].owned);
        self.model.slots[slot].owned = true;
        if let Some(member) = member {
            assert_eq!(member.index(), slot);
            self.threads[slot] = Some(Thread { member, ticket: None, asleep: None });
        }
    }

    pub(super) fn start(&mut self, slot: usize) {
        match self.model.start(slot) {
            // It would sleep.
            Ok(true) => {
                assert!(self.group.apply(slot, Event::Start).is_ok());
                self.fall_asleep_at_park(slot);
                self.seen.note("born under a pause", true);
            }
            Ok(false) => {
                assert!(!self.would_sleep(slot, Event::Start));
                assert_eq!(self.thread(slot).member.start(), Ok(Parked::Resumed));
            }
            Err(illegal) => assert_eq!(self.thread(slot).member.start(), Err(illegal)),
        }
    }

    pub(super) fn enter(&mut self, slot: usize) {
        let must = self.model.enter(slot);
        assert_eq!(self.thread(slot).member.enter(), must);
    }

    pub(super) fn park(&mut self, slot: usize, epoch: Epoch) {
        let epoch = match epoch {
            Epoch::Newest => self.model.requests,
            Epoch::Older => self.model.requests.wrapping_sub(1),
            Epoch::Newer => self.model.requests.wrapping_add(1),
        };
        let stale = epoch != self.model.requests && self.model.owes_ack(slot);
        self.seen.note("stale ack", stale);
        if let Some(must) = self.model.park(slot, epoch) {
            assert!(!self.would_sleep(slot, Event::AckPause { epoch }));
            assert_eq!(self.thread(slot).member.park(epoch), must);
        } else {
            assert!(self.group.apply(slot, Event::AckPause { epoch }).is_ok());
            self.fall_asleep_at_park(slot);
            self.seen.note("parked", true);
        }
    }

    /// Whether the production code would stay at the park, for ever on this one thread.
    fn would_sleep(&self, slot: usize, event: Event) -> bool {
        transition(self.group.load(slot), event).is_ok_and(|word| word.any(Word::PAUSED))
    }

    /// What `Member::stay_parked` does until it sleeps.
    pub(super) fn fall_asleep_at_park(&mut self, slot: usize) {
        let generation = self.group.parking.load();
        assert_eq!(self.group.apply(slot, Event::Unpark).map(drop), Err(Illegal::Held));
        self.thread(slot).asleep = Some(Asleep::Park(generation));
    }

    /// A sleeper at its park wakes, perhaps for nothing.
    pub(super) fn look_up(&mut self, slot: usize) {
        if !self.model.may_leave_park(slot) {
            return self.fall_asleep_at_park(slot);
        }
        let killed = self.model.slots[slot].killed;
        let must = if killed { Parked::Killed } else { Parked::Resumed };
        let held = transition(self.group.load(slot), Event::Unpark) == Err(Illegal::Held);
        assert!(!held, "the production code would sleep for ever");
        let thread = self.thread(slot);
        assert_eq!(thread.member.stay_parked(), must);
        thread.asleep = None;
        if !killed {
            self.model.slots[slot].place = Place::Loop;
        }
        self.seen.note("parked and killed", killed);
        self.seen.note("resumed", !killed);
    }

    pub(super) fn begin_ticket(&mut self, slot: usize) {
        let must = self.model.begin_ticket(slot);
        assert_eq!(self.thread(slot).member.begin_ticket(), must);
        if must.is_ok() {
            let (ticket, completer) = Ticket::new(&self.group);
            self.thread(slot).ticket = Some(ticket);
            // The worker of an earlier incarnation fails its ticket.
            let earlier = self.completers[slot].replace(completer);
            self.model.ticket_wakes += u32::from(earlier.is_some());
        }
    }

    pub(super) fn wait_ticket(&mut self, slot: usize) {
        let Some(thread) = &mut self.threads[slot] else { return };
        let (Some(ticket), None | Some(Asleep::Ticket(_))) = (&thread.ticket, thread.asleep) else {
            return;
        };
        let Some(must) = self.model.wait_ticket(slot) else {
            thread.asleep = Some(Asleep::Ticket(self.group.ticketing.load()));
            return self.seen.note("asleep on a ticket", true);
        };
        assert_eq!(thread.member.wait_ticket(ticket), must);
        thread.asleep = None;
        if must != Waited::Interrupted {
            thread.ticket = None;
        }
        self.seen.note("ticket interrupted", must == Waited::Interrupted);
        self.seen.note("ticket done", must != Waited::Interrupted);
    }

    pub(super) fn take(&mut self, slot: usize, one_shot: OneShot) {
        let must = self.model.take(slot, one_shot);
        assert_eq!(self.thread(slot).member.take(one_shot), must);
    }

    pub(super) fn die(&mut self, slot: usize) {
        let in_guest = self.model.slots[slot].place == Place::Guest;
        self.seen.note("died in the guest", in_guest);
        self.threads[slot] = None;
        self.model.die(slot);
    }
}
