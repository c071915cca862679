//! Steps of pausers, of the killer, of workers and of whoever asks for a one-shot.

use super::model::{Holder, Model, Owed, Place};
use super::world::{Hold, PASSED, Unwoken, World};
use super::{End, How, Limit};
use crate::sync::Arc;
use crate::{Deadline, OneShot, Outcome, Released, Stuck, TooManyHolders, Word};

fn named(stuck: &Stuck) -> Vec<usize> {
    stuck.members.iter().map(|member| member.member).collect()
}

impl World {
    pub(super) fn complete(&mut self, slot: usize, end: End) {
        let Some(completer) = self.completers[slot].take() else { return };
        self.model.ticket_wakes += 1;
        match end {
            End::Done => completer.complete(Outcome::Done),
            End::Failed => completer.complete(Outcome::Failed),
            End::Dropped => drop(completer),
        }
        if let Owed::Ticket(outcome) = &mut self.model.slots[slot].owed {
            let ended = if matches!(end, End::Done) { Outcome::Done } else { Outcome::Failed };
            assert_eq!(outcome.replace(ended), None);
        }
    }

    pub(super) fn ask(&mut self, slot: usize, one_shot: OneShot) {
        let must = self.model.ask(slot, one_shot);
        assert_eq!(self.group.ask(slot, one_shot), must);
        if must.is_ok() && self.model.slots[slot].place == Place::Guest {
            self.due.push(slot);
        }
    }

    pub(super) fn kill(&mut self, slot: usize) {
        self.group.kill(slot);
        self.model.kill(slot..slot + 1);
        if self.model.slots.get(slot).is_some_and(|slot| slot.place == Place::Guest) {
            self.due.push(slot);
        }
    }

    pub(super) fn wait_dead(&mut self) {
        let alive = self.model.those(|model, slot| model.slots[slot].runs());
        let deadline = if alive.is_empty() { Deadline::Never } else { PASSED };
        match self.group.wait_dead(deadline) {
            Ok(()) => assert_eq!(alive, []),
            Err(stuck) => assert_eq!(named(&stuck), alive),
        }
    }

    pub(super) fn signal(&mut self, limit: Limit) {
        let asked = match limit {
            Limit::Never => self.group.signal_all(),
            Limit::Passed => self.group.signal_all_by(PASSED),
        };
        if self.holds.len() == usize::from(Word::MAX_HOLDERS) {
            assert_eq!(asked.map(drop), Err(TooManyHolders { member: 0 }));
            return self.seen.note("too many holders", true);
        }
        self.holds.push(Hold::Asked(asked.expect("there is a holder to spare"), limit));
        self.due.extend(self.model.in_guest());
        self.model.ticket_wakes += u32::from(self.model.awaits_ticket());
        self.model.holders.push(Holder::Asked);
        self.model.requests += 1;
        self.seen.note("nested pausers", self.holds.len() > 1);
    }

    pub(super) fn wait(&mut self, holder: usize) {
        let owing = self.model.those(Model::owes_ack);
        let would_sleep = !owing.is_empty();
        let hold = match self.holds.swap_remove(holder) {
            Hold::Asked(pending, limit) if !would_sleep || matches!(limit, Limit::Passed) => {
                match pending.wait_all() {
                    Ok(quiesced) => {
                        assert_eq!(owing, []);
                        assert!(Arc::ptr_eq(quiesced.group(), &self.group));
                        self.seen.note("still", true);
                        Hold::Waited(quiesced)
                    }
                    Err(stuck) => {
                        assert_eq!(named(&stuck), owing);
                        assert!(would_sleep && stuck.members.iter().all(|m| m.word.owes_ack()));
                        self.model.release(holder);
                        return self.seen.note("stuck", true);
                    }
                }
            }
            hold => hold,
        };
        self.model.holders.swap_remove(holder);
        let stage = if matches!(hold, Hold::Waited(_)) { Holder::Waited } else { Holder::Asked };
        self.model.holders.push(stage);
        self.holds.push(hold);
    }

    pub(super) fn release(&mut self, holder: usize, how: How) {
        match (self.holds.swap_remove(holder), how) {
            (Hold::Asked(pending, _), _) => {
                self.model.release(holder);
                drop(pending);
            }
            (Hold::Waited(quiesced), How::Drop) => {
                self.model.release(holder);
                drop(quiesced);
            }
            (Hold::Waited(quiesced), How::Resume) => {
                assert_eq!(quiesced.resume(), self.model.release(holder));
            }
            (Hold::Waited(quiesced), How::Release) => {
                let resumed = quiesced.release();
                let must = self.model.release_unwoken(holder);
                assert_eq!(resumed.released(), must);
                let slots = match must {
                    Released::Running => self.model.parked(),
                    Released::StillHeld => Vec::new(),
                };
                self.unwoken.push(Unwoken { slots, _resumed: resumed });
            }
        }
    }
}
