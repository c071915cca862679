//! What must hold after every step.

use super::model::{Holder, Model, Owed, Place};
use super::world::{Asleep, World};
use crate::Word;

impl World {
    /// Compares all that can be seen of the group with the model.
    pub(super) fn check(&self) {
        let slots = self.model.slots.len();
        assert_eq!((self.group.len(), self.group.is_empty()), (slots, false));
        let words: Vec<_> = (0..slots).filter_map(|slot| self.group.word(slot)).collect();
        assert_eq!(words.len(), slots);
        assert_eq!(words, self.group.words().collect::<Vec<_>>());
        assert!(self.group.word(slots).is_none() && self.group.member(slots).is_none());
        for slot in 0..slots {
            self.check_word(slot);
            self.check_thread(slot);
        }
        let owing = self.model.those(Model::owes_ack);
        assert_eq!(self.group.outstanding.load() as usize, owing.len(), "acks owed by {owing:?}");
        // What a `Quiesced` proves.
        assert!(!self.model.holders.contains(&Holder::Waited) || owing.is_empty(), "{owing:?}");
        assert_eq!(self.group.deaths.load(), self.model.deaths, "deaths");
        assert_eq!(self.group.parking.load(), self.model.park_wakes, "wakes of the parked");
        assert_eq!(self.group.ticketing.load(), self.model.ticket_wakes, "wakes for tickets");
        let mut due = vec![0; slots];
        self.due.iter().for_each(|slot| due[*slot] += 1);
        assert_eq!(self.kicks(), due, "kicks");
    }

    fn check_word(&self, slot: usize) {
        let word = self.group.load(slot);
        let it = &self.model.slots[slot];
        let (held, parked) = (self.model.held(), it.place == Place::Park);
        for (name, flag, must) in [
            ("RUN", Word::RUN, it.runs()),
            ("IN_GUEST", Word::IN_GUEST, it.place == Place::Guest),
            ("PAUSE_REQUESTED", Word::PAUSE_REQUESTED, held),
            ("PARKED", Word::PARKED, parked),
            ("PAUSED", Word::PAUSED, parked && held),
            ("KILLED", Word::KILLED, it.killed),
            ("DEAD", Word::DEAD, it.place == Place::Gone),
            ("ACTIVATION_PENDING", Word::ACTIVATION_PENDING, it.owed != Owed::Nothing),
            ("NMI", Word::NMI, it.nmi),
            ("DEBUG_STOP", Word::DEBUG_STOP, it.debug_stop),
        ] {
            assert_eq!(word.any(flag), must, "{name} of slot {slot}: {word}, {it:?}");
        }
        assert_eq!(usize::from(word.holders()), self.model.holders.len(), "slot {slot}: {word}");
        assert_eq!(word.epoch(), self.model.requests, "slot {slot}: {word}");
        assert_eq!(word.incarnation(), it.incarnation, "slot {slot}: {word}");
        assert_eq!(word.owes_ack(), self.model.owes_ack(slot), "slot {slot}: {word}");
        let quiescent = !matches!(it.place, Place::Loop | Place::Guest) && (held || !parked);
        assert_eq!(word.is_quiescent(), quiescent, "slot {slot}: {word}");
        assert!(word.is_coherent(), "slot {slot}: {word}");
    }

    /// A thread that is awake is told what to do; one that sleeps has nothing to do, or was woken.
    fn check_thread(&self, slot: usize) {
        let Some(thread) = &self.threads[slot] else { return };
        let it = &self.model.slots[slot];
        assert_eq!(thread.member.next(), self.model.next(slot), "slot {slot}: {it:?}");
        if let (Owed::Ticket(ended), Some(ticket)) = (it.owed, &thread.ticket) {
            assert_eq!(ticket.outcome(), ended, "slot {slot}");
        }
        match thread.asleep {
            Some(Asleep::Park(generation)) if self.model.may_leave_park(slot) => {
                let later = !it.killed && self.unwoken.iter().any(|it| it.slots.contains(&slot));
                let woken = self.group.parking.load() != generation;
                assert!(woken || later, "slot {slot} sleeps at its park for ever: {it:?}");
            }
            Some(Asleep::Ticket(generation)) => {
                let mut model = self.model.clone();
                let woken = self.group.ticketing.load() != generation;
                let sleeps_on = model.wait_ticket(slot).is_none();
                assert!(woken || sleeps_on, "slot {slot} sleeps on its ticket for ever: {it:?}");
            }
            _ => {}
        }
    }
}
