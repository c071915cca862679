//! Production and model in lock-step: every step is taken in both, and must come to the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::model::{Holder, Model, Owed, Place};
use super::{End, Epoch, How, Limit, Op};
use crate::sync::Arc;
use crate::{
    Completer, Deadline, Event, Group, Illegal, Kick, Member, OneShot, Outcome, Parked, Pending,
    Quiesced, Released, Resumed, Step, Ticket, TooManyHolders, Waited, Word,
};

const PASSED: Deadline = Deadline::After(Duration::ZERO);

/// Counts kicks by slot.
pub(super) struct Kicks(Box<[AtomicUsize]>);

impl Kick for Arc<Kicks> {
    fn kick(&self, member: usize) {
        self.0[member].fetch_add(1, Ordering::Relaxed);
    }
}

/// The owner's end of a slot.
pub(super) struct Thread {
    pub(super) member: Member,
    pub(super) ticket: Option<Ticket>,
    pub(super) asleep: Option<Asleep>,
}

/// What a thread sleeps on, and the generation that it saw first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asleep {
    Park(u32),
    Ticket(u32),
}

/// A pauser.
enum Hold {
    Asked(Pending, Limit),
    Waited(Quiesced),
}

/// A pauser that let go and did not wake the sleepers yet.
pub(super) struct Unwoken {
    pub(super) slots: Vec<usize>,
    _resumed: Resumed,
}

/// Both.
pub(super) struct World {
    pub(super) group: Arc<Group>,
    pub(super) model: Model,
    pub(super) threads: Vec<Option<Thread>>,
    pub(super) unwoken: Vec<Unwoken>,
    /// Kicks that the last step must have caused.
    pub(super) due: Vec<usize>,
    pub(super) seen: Seen,
    kicks: Arc<Kicks>,
    completers: Vec<Option<Completer>>,
    holds: Vec<Hold>,
}

/// What programs came past.
#[derive(Default)]
pub(super) struct Seen(BTreeSet<&'static str>);

impl Seen {
    const ALL: [&str; 15] = [
        "born under a pause",
        "parked",
        "parked and killed",
        "resumed",
        "stale ack",
        "ticket done",
        "ticket interrupted",
        "asleep on a ticket",
        "died in the guest",
        "reincarnated under a pause",
        "nested pausers",
        "stuck",
        "still",
        "too many holders",
        "woken late",
    ];

    pub(super) fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    pub(super) fn assert_all(&self) {
        let missing: Vec<_> = Self::ALL.iter().filter(|what| !self.0.contains(*what)).collect();
        assert!(missing.is_empty(), "no program came past {missing:?}");
    }

    fn note(&mut self, what: &'static str, is_so: bool) {
        assert!(Self::ALL.contains(&what), "{what} is not in the list");
        if is_so {
            self.0.insert(what);
        }
    }
}

impl World {
    pub(super) fn new(slots: usize) -> Self {
        let kicks = Arc::new(Kicks((0..slots).map(|_| AtomicUsize::new(0)).collect()));
        Self {
            group: Group::new(slots, Box::new(Arc::clone(&kicks))),
            model: Model::new(slots),
            threads: (0..slots).map(|_| None).collect(),
            unwoken: Vec::new(),
            due: Vec::new(),
            seen: Seen::default(),
            kicks,
            completers: (0..slots).map(|_| None).collect(),
            holds: Vec::new(),
        }
    }

    /// Kicks of each slot since the last call.
    pub(super) fn kicks(&self) -> Vec<usize> {
        self.kicks.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect()
    }

    pub(super) fn step(&mut self, op: Op) {
        self.due.clear();
        match op {
            Op::Step(slot) => self.follow(slot),
            Op::Start(slot) if self.awake(slot) => self.start(slot),
            Op::Enter(slot) if self.awake(slot) => self.enter(slot),
            Op::Park(slot, epoch) if self.awake(slot) => self.park(slot, epoch),
            Op::BeginTicket(slot) if self.awake(slot) => self.begin_ticket(slot),
            Op::WaitTicket(slot) => self.wait_ticket(slot),
            Op::Take(slot, one_shot) if self.awake(slot) => self.take(slot, one_shot),
            Op::Die(slot) if self.awake(slot) => self.die(slot),
            Op::Complete(slot, end) => self.complete(slot, end),
            Op::Ask(slot, one_shot) => self.ask(slot, one_shot),
            Op::Kill(slot) => self.kill(slot),
            Op::KillAll => {
                self.due = self.model.in_guest();
                self.group.kill_all();
                self.model.slots.iter_mut().for_each(|slot| slot.killed = true);
            }
            Op::WaitDead => self.wait_dead(),
            Op::Reincarnate(slot) => {
                assert_eq!(self.group.reincarnate(slot), self.model.reincarnate(slot));
                let unborn = self.model.slots[slot].place == Place::Unborn;
                self.seen.note("reincarnated under a pause", unborn && self.model.held());
            }
            Op::Signal(limit) => self.signal(limit),
            Op::Fill => {
                for _ in self.holds.len()..usize::from(Word::MAX_HOLDERS) {
                    self.signal(Limit::Never);
                }
            }
            Op::Wait(holder) if !self.holds.is_empty() => self.wait(holder % self.holds.len()),
            Op::Release(holder, how) if !self.holds.is_empty() => {
                self.release(holder % self.holds.len(), how);
            }
            Op::Wake(number) if !self.unwoken.is_empty() => {
                drop(self.unwoken.swap_remove(number % self.unwoken.len()));
                self.seen.note("woken late", true);
            }
            // The actor sleeps, or is not there.
            _ => {}
        }
    }

    fn thread(&mut self, slot: usize) -> &mut Thread {
        self.threads[slot].as_mut().unwrap()
    }

    fn awake(&self, slot: usize) -> bool {
        self.threads[slot].as_ref().is_some_and(|thread| thread.asleep.is_none())
    }

    /// The owner's loop, one step of it.
    fn follow(&mut self, slot: usize) {
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

    fn own(&mut self, slot: usize) {
        let member = self.group.member(slot);
        assert_eq!(member.is_some(), !self.model.slots[slot].owned);
        self.model.slots[slot].owned = true;
        if let Some(member) = member {
            assert_eq!(member.index(), slot);
            self.threads[slot] = Some(Thread { member, ticket: None, asleep: None });
        }
    }

    fn start(&mut self, slot: usize) {
        match self.model.start(slot) {
            // It would sleep.
            Ok(true) => {
                assert!(self.group.apply(slot, Event::Start).is_ok());
                self.fall_asleep_at_park(slot);
                self.seen.note("born under a pause", true);
            }
            Ok(false) => assert_eq!(self.thread(slot).member.start(), Ok(Parked::Resumed)),
            Err(illegal) => assert_eq!(self.thread(slot).member.start(), Err(illegal)),
        }
    }

    fn enter(&mut self, slot: usize) {
        let must = self.model.enter(slot);
        assert_eq!(self.thread(slot).member.enter(), must);
    }

    fn park(&mut self, slot: usize, epoch: Epoch) {
        let epoch = match epoch {
            Epoch::Newest => self.model.requests,
            Epoch::Older => self.model.requests.wrapping_sub(1),
            Epoch::Newer => self.model.requests.wrapping_add(1),
        };
        let stale = epoch != self.model.requests && self.model.owes_ack(slot);
        self.seen.note("stale ack", stale);
        if let Some(must) = self.model.park(slot, epoch) {
            assert_eq!(self.thread(slot).member.park(epoch), must);
        } else {
            assert!(self.group.apply(slot, Event::AckPause { epoch }).is_ok());
            self.fall_asleep_at_park(slot);
            self.seen.note("parked", true);
        }
    }

    /// What `Member::stay_parked` does until it sleeps.
    fn fall_asleep_at_park(&mut self, slot: usize) {
        let generation = self.group.parking.load();
        assert_eq!(self.group.apply(slot, Event::Unpark).map(drop), Err(Illegal::Held));
        self.thread(slot).asleep = Some(Asleep::Park(generation));
    }

    /// A sleeper at its park wakes, perhaps for nothing.
    fn look_up(&mut self, slot: usize) {
        if !self.model.may_leave_park(slot) {
            return self.fall_asleep_at_park(slot);
        }
        let killed = self.model.slots[slot].killed;
        let must = if killed { Parked::Killed } else { Parked::Resumed };
        let thread = self.thread(slot);
        assert_eq!(thread.member.stay_parked(), must);
        thread.asleep = None;
        if !killed {
            self.model.slots[slot].place = Place::Loop;
        }
        self.seen.note("parked and killed", killed);
        self.seen.note("resumed", !killed);
    }

    fn begin_ticket(&mut self, slot: usize) {
        let must = self.model.begin_ticket(slot);
        assert_eq!(self.thread(slot).member.begin_ticket(), must);
        if must.is_ok() {
            let (ticket, completer) = Ticket::new(&self.group);
            self.thread(slot).ticket = Some(ticket);
            self.completers[slot] = Some(completer);
        }
    }

    fn wait_ticket(&mut self, slot: usize) {
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

    fn complete(&mut self, slot: usize, end: End) {
        let Some(completer) = self.completers[slot].take() else { return };
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

    fn take(&mut self, slot: usize, one_shot: OneShot) {
        let must = self.model.take(slot, one_shot);
        assert_eq!(self.thread(slot).member.take(one_shot), must);
    }

    fn die(&mut self, slot: usize) {
        let in_guest = self.model.slots[slot].place == Place::Guest;
        self.seen.note("died in the guest", in_guest);
        self.threads[slot] = None;
        self.model.die(slot);
    }

    fn ask(&mut self, slot: usize, one_shot: OneShot) {
        let must = self.model.ask(slot, one_shot);
        assert_eq!(self.group.ask(slot, one_shot), must);
        if must.is_ok() && self.model.slots[slot].place == Place::Guest {
            self.due.push(slot);
        }
    }

    fn kill(&mut self, slot: usize) {
        self.group.kill(slot);
        let Some(killed) = self.model.slots.get_mut(slot) else { return };
        killed.killed = true;
        if killed.place == Place::Guest {
            self.due.push(slot);
        }
    }

    fn wait_dead(&mut self) {
        let alive = self.model.those(|model, slot| model.slots[slot].runs());
        let deadline = if alive.is_empty() { Deadline::Never } else { PASSED };
        match self.group.wait_dead(deadline) {
            Ok(()) => assert_eq!(alive, []),
            Err(stuck) => {
                assert_eq!(stuck.members.iter().map(|m| m.member).collect::<Vec<_>>(), alive)
            }
        }
    }

    fn signal(&mut self, limit: Limit) {
        let asked = match limit {
            Limit::Never => self.group.signal_all(),
            Limit::Passed => self.group.signal_all_by(PASSED),
        };
        if self.holds.len() == usize::from(Word::MAX_HOLDERS) {
            assert_eq!(asked.map(drop), Err(TooManyHolders { member: 0 }));
            return self.seen.note("too many holders", true);
        }
        self.holds.push(Hold::Asked(asked.unwrap(), limit));
        self.due.extend(self.model.in_guest());
        self.model.holders.push(Holder::Asked);
        self.model.requests += 1;
        self.seen.note("nested pausers", self.holds.len() > 1);
    }

    fn wait(&mut self, holder: usize) {
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
                        let named: Vec<_> = stuck.members.iter().map(|m| m.member).collect();
                        assert_eq!(named, owing);
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

    fn release(&mut self, holder: usize, how: How) {
        let must = self.model.release(holder);
        match (self.holds.swap_remove(holder), how) {
            (Hold::Asked(pending, _), _) => drop(pending),
            (Hold::Waited(quiesced), How::Drop) => drop(quiesced),
            (Hold::Waited(quiesced), How::Resume) => assert_eq!(quiesced.resume(), must),
            (Hold::Waited(quiesced), How::Release) => {
                let resumed = quiesced.release();
                assert_eq!(resumed.released(), must);
                let let_go = |model: &Model, slot: usize| model.slots[slot].place == Place::Park;
                let slots = match must {
                    Released::Running => self.model.those(let_go),
                    Released::StillHeld => Vec::new(),
                };
                self.unwoken.push(Unwoken { slots, _resumed: resumed });
            }
        }
    }
}
