//! A group: the words of one VM, and what is done to all of them at once.
//!
//! A group has a fixed number of slots, one for each member that the VM can ever have. A slot whose
//! thread has not started is quiescent, and a pause marks it like every other; so a thread that
//! starts under a pause (hotplug, a late boot) parks at once, and there is no membership to lock.
//!
//! # Counting acknowledgements
//!
//! `outstanding` is at least the number of members that owe an ack (`Word::owes_ack`). A pauser adds
//! every slot *before* its first compare-and-swap and takes back, after its last, those that owed
//! nothing. Whoever makes a member stop owing (its ack, its death, the last release) subtracts one.
//! Whoever reaches zero wakes the pausers. A zero seen by a pauser that has asked everybody means
//! that everybody is quiescent, and its own hold keeps them so.

mod parts;
mod pause;
mod range;
#[cfg(all(test, not(any(loom, shuttle))))]
mod reference;
mod stamps;
mod unless;
mod wait;
mod watch;

pub use parts::PauseParts;
pub use pause::{PauseError, Pending, Quiesced, Released, Resumed, TooManyHolders};
pub use range::{PendingRange, QuiescedRange};
pub use wait::{Awaited, Deadline, NotDone, Stuck, StuckMember};

use crossbeam_utils::CachePadded;

use crate::event::{Event, Illegal, OneShot, transition};
use crate::member::Member;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, FutexWord};
use crate::word::Word;

/// Makes a member look at its word again when it is (or is about to be) in the guest.
///
/// Called after the word changed. For a vCPU: a signal whose handler stores `immediate_exit`, so
/// that a kick between the entry's compare-and-swap and the ioctl is not lost.
pub trait Kick: Send + Sync {
    /// Kicks the member with this index. Must not block.
    fn kick(&self, member: usize);
}

/// For members of tests, which look at their words by themselves.
#[cfg(test)]
pub(crate) struct NoKick;

#[cfg(test)]
impl Kick for NoKick {
    fn kick(&self, _member: usize) {}
}

/// The words of one VM's members.
pub struct Group {
    slots: Box<[CachePadded<Slot>]>,
    kick: Box<dyn Kick>,
    /// Acks owed, or a little more while a pauser is still asking.
    outstanding: CachePadded<FutexWord>,
    /// Generation that parked members wait on.
    pub(crate) parking: CachePadded<FutexWord>,
    /// Generation that members with a ticket wait on.
    pub(crate) ticketing: CachePadded<FutexWord>,
    /// Generation that [`Group::wait_dead`] waits on.
    deaths: CachePadded<FutexWord>,
    /// Those who watch words (`watch`); hardly ever written, and read beside words that change.
    watchers: CachePadded<AtomicU32>,
    /// Generation that they wait on.
    pub(crate) news: CachePadded<FutexWord>,
    /// When the group was made: stamps count from here.
    origin: std::time::Instant,
}

struct Slot {
    word: AtomicU64,
    /// Whether this incarnation has an owner, or had one.
    owned: AtomicBool,
    /// Changes of the word that somebody watched.
    told: AtomicU32,
    /// When its owner parked and left its park last.
    stamps: stamps::Stamps,
}

/// A word before and after an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) old: Word,
    pub(crate) new: Word,
}

impl Group {
    /// A group of `members` slots, none of which has a thread yet.
    #[must_use]
    pub fn new(members: usize, kick: Box<dyn Kick>) -> Arc<Self> {
        let slot = || {
            let word = AtomicU64::new(Word::NEW.bits());
            let (owned, told) = (AtomicBool::new(false), AtomicU32::new(0));
            CachePadded::new(Slot { word, owned, told, stamps: stamps::Stamps::new() })
        };
        Arc::new(Self {
            slots: (0..members).map(|_| slot()).collect(),
            kick,
            outstanding: CachePadded::new(FutexWord::new(0)),
            parking: CachePadded::new(FutexWord::new(0)),
            ticketing: CachePadded::new(FutexWord::new(0)),
            deaths: CachePadded::new(FutexWord::new(0)),
            watchers: CachePadded::new(AtomicU32::new(0)),
            news: CachePadded::new(FutexWord::new(0)),
            origin: std::time::Instant::now(),
        })
    }

    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the group has no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A member's word now, or `None` for an index that the group does not have.
    #[must_use]
    pub fn word(&self, member: usize) -> Option<Word> {
        (member < self.len()).then(|| self.load(member))
    }

    /// Every member's word, in order of index; each as it was when it was read.
    pub fn words(&self) -> impl Iterator<Item = Word> + '_ {
        (0..self.len()).map(|i| self.load(i))
    }

    /// The owner's end of a slot, for the thread that is to run it; `None` for an index that the group
    /// does not have, and for a slot that has had its owner: there is one for each incarnation, and
    /// the next only after [`Group::reincarnate`]. (The drop of a second one would declare the first
    /// one dead.)
    #[must_use]
    pub fn member(self: &Arc<Self>, member: usize) -> Option<Member> {
        let slot = self.slots.get(member)?;
        // AcqRel: of several that ask one wins, after what `reincarnate` released.
        let owned = slot.owned.swap(true, Ordering::AcqRel);
        (!owned).then(|| Member::new(Arc::clone(self), member))
    }

    /// Asks one member for a one-shot. Asking twice before it is consumed is asking once, as with
    /// the pin of a processor.
    ///
    /// # Errors
    /// The member is killed or dead; one that the group does not have is as good as dead.
    pub fn ask(&self, member: usize, one_shot: OneShot) -> Result<(), Illegal> {
        if member >= self.len() {
            return Err(Illegal::Dead);
        }
        let change = self.apply(member, Event::Ask(one_shot))?;
        if change.old.any(Word::IN_GUEST) {
            self.kick.kick(member);
        }
        Ok(())
    }

    /// Makes one member leave for good. Parked and waiting members leave, too: kill dominates.
    pub fn kill(&self, member: usize) {
        self.kill_range(member..member.saturating_add(1));
    }

    /// Makes every member leave for good.
    pub fn kill_all(&self) {
        self.kill_range(0..self.len());
    }

    fn kill_range(&self, members: std::ops::Range<usize>) {
        let mut woken = 0;
        for member in members.start..members.end.min(self.len()) {
            let Ok(change) = self.apply(member, Event::Kill) else { continue };
            if change.old.any(Word::IN_GUEST) {
                self.kick.kick(member);
            }
            woken |= change.old.bits();
        }
        self.wake_waiters(Word::from_bits(woken));
    }

    /// Makes a dead member's slot ready for another thread. The caller has joined the old one.
    ///
    /// # Errors
    /// The slot's thread is not dead; or the group has no such slot, which then is as good as dead for ever.
    pub fn reincarnate(&self, member: usize) -> Result<(), Illegal> {
        if member >= self.len() {
            return Err(Illegal::Dead);
        }
        self.apply(member, Event::Reincarnate)?;
        // Release: pairs with the swap in `member`. Exactly one caller comes here for each death.
        self.slots[member].owned.store(false, Ordering::Release);
        Ok(())
    }

    /// Waits until every member that has a thread is dead. Meant for after [`Group::kill_all`].
    ///
    /// # Errors
    /// The members that were alive at the deadline.
    pub fn wait_dead(&self, deadline: Deadline) -> Result<(), Stuck> {
        let alive = |word: Word| word.any(Word::RUN);
        wait::until_none(self, &self.deaths, deadline, alive)
    }

    /// Wakes the waiters among members of which these flags were set (a union over members).
    pub(crate) fn wake_waiters(&self, old: Word) {
        if old.any(Word::PARKED) {
            self.parking.advance();
        }
        if old.any(Word::ACTIVATION_PENDING) {
            self.ticketing.advance();
        }
    }

    /// Carries an event out on a member's word and keeps the count of acks owed.
    pub(crate) fn apply(&self, member: usize, event: Event) -> Result<Change, Illegal> {
        let change = self.swap(member, event)?;
        if change.old.owes_ack() && !change.new.owes_ack() {
            self.acked(1);
        }
        if change.new.any(Word::DEAD) && !change.old.any(Word::DEAD) {
            self.deaths.advance();
        }
        Ok(change)
    }

    /// Fewer acks are owed; whoever reaches zero wakes the pausers.
    fn acked(&self, n: u32) {
        if n > 0 && self.outstanding.sub(n) == n {
            self.outstanding.wake_all();
        }
    }

    pub(crate) fn load(&self, member: usize) -> Word {
        // An acquiring load: pairs with the release half of `swap`, so that what a member did before it
        // published a word is visible to whoever reads that word.
        Word::from_bits(crate::sync::read(&self.slots[member].word))
    }

    /// One event, by compare-and-swap. Lock-free: a failed swap means that another one succeeded.
    ///
    /// An event that changes nothing (asking for what is asked for) swaps, too: only a
    /// read-modify-write orders what this thread did before against whoever consumes the request.
    fn swap(&self, member: usize, event: Event) -> Result<Change, Illegal> {
        let mut old = self.load(member);
        loop {
            let new = transition(old, event)?;
            // AcqRel: releases what this thread did before to whoever reads the new word, and
            // acquires what led to the old one. Acquire on failure, as in `load`.
            let swapped = self.slots[member].word.compare_exchange(
                old.bits(),
                new.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => {
                    let change = Change { old, new };
                    self.tell(member, change);
                    return Ok(change);
                }
                Err(now) => old = Word::from_bits(now),
            }
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.words()).finish()
    }
}
