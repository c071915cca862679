//! Production and model in lock-step: every step is taken in both, and must come to the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::model::{Model, Place};
use super::seen::Seen;
use super::{Limit, Op};
use crate::sync::Arc;
use crate::{Completer, Deadline, Group, Kick, Member, Pending, Quiesced, Resumed, Ticket, Word};

pub(super) const PASSED: Deadline = Deadline::After(Duration::ZERO);

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
pub(super) enum Hold {
    Asked(Pending, Limit),
    Waited(Quiesced),
}

/// A pauser that let go and did not wake the sleepers yet.
pub(super) struct Unwoken {
    pub(super) slots: Vec<usize>,
    pub(super) _resumed: Resumed,
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
    pub(super) completers: Vec<Option<Completer>>,
    pub(super) holds: Vec<Hold>,
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
                self.model.kill(0..self.model.slots.len());
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
                let unwoken = self.unwoken.swap_remove(number % self.unwoken.len());
                let late = !unwoken.slots.is_empty();
                let (asked_again, asleep) = (self.model.held(), !self.model.parked().is_empty());
                self.model.park_wakes += u32::from(late && asleep && !asked_again);
                drop(unwoken);
                self.seen.note("woken late", late && asleep && !asked_again);
                self.seen.note("not woken, asked again", late && asleep && asked_again);
            }
            // The actor sleeps, or is not there.
            _ => {}
        }
    }

    pub(super) fn thread(&mut self, slot: usize) -> &mut Thread {
        self.threads[slot].as_mut().expect("it is awake")
    }

    pub(super) fn awake(&self, slot: usize) -> bool {
        self.threads[slot].as_ref().is_some_and(|thread| thread.asleep.is_none())
    }
}
