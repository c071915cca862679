//! Watching single words change, for the few that wait for more than the count of acks tells.
//!
//! ```text
//!   watcher:  watchers += 1 ─▶ a read-modify-write of each word ─▶ generation ─▶ look ─▶ sleep ─▶ look …
//!   changer:  compare-and-swap of a word ─▶ watchers > 0? ─▶ count it in the slot, new generation, wake
//! ```
//!
//! Invariant: no change is missed. Both sides change the same word by a read-modify-write, and those have
//! one order: a change that comes after the watcher's acquires the raised `watchers` with it; one that comes
//! before is in what the watcher read. So whoever changes words pays one load of a number that is
//! hardly ever written, and nothing else while nobody watches.

use std::time::Duration;

use super::wait::{Clock, Deadline, Stuck, StuckMember};
use super::{Change, Group, Resumed};
use crate::group::pause::Released;
use crate::sync::atomic::Ordering;
use crate::word::Word;

/// A member on its way to the guest, and how many of its changes had been told before it was touched.
#[derive(Clone, Copy)]
struct OnTheWay {
    member: usize,
    told: u32,
}

/// Somebody who watches; until it is dropped, changes are told.
pub(crate) struct Watch<'g> {
    group: &'g Group,
}

impl<'g> Watch<'g> {
    /// Begins. A word is watched from when it has been [touched](Group::touch) by the watcher, or changed.
    pub(crate) fn new(group: &'g Group) -> Self {
        // AcqRel: released to whoever changes a word after this watcher's own read-modify-write of it.
        group.watchers.fetch_add(1, Ordering::AcqRel);
        Self { group }
    }

    /// Waits until `so`; false if `left` says that the time has run out before.
    pub(crate) fn until(
        &self,
        left: impl Fn() -> Result<Option<Duration>, ()>,
        mut so: impl FnMut() -> bool,
    ) -> bool {
        loop {
            // The generation first, then the words: a change in between moves the generation.
            let seen = self.group.news.load();
            if so() {
                return true;
            }
            match left() {
                Ok(left) => self.group.news.wait(seen, left),
                Err(()) => return so(),
            }
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Relaxed: who sees the higher number wakes one that does not wait.
        self.group.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Change {
    /// Whether somebody may wait for this: the end of an owed ack, of a way to the guest, or of all holds.
    fn is_news(self) -> bool {
        (self.old.owes_ack() && !self.new.owes_ack())
            || (self.old.is_on_its_way() && !self.new.is_on_its_way())
            || (self.old.any(Word::PAUSE_REQUESTED) && !self.new.any(Word::PAUSE_REQUESTED))
    }
}

impl Group {
    /// Tells those who watch that a word has changed.
    pub(super) fn tell(&self, member: usize, change: Change) {
        // Acquire, after the swap of the word: see the module.
        if change.is_news() && self.watchers.load(Ordering::Acquire) > 0 {
            // Relaxed: published by the generation.
            self.slots[member].told.fetch_add(1, Ordering::Relaxed);
            self.news.advance();
        }
    }

    /// Reads a word in the one order of its read-modify-writes, changing nothing.
    pub(super) fn touch(&self, member: usize) -> Word {
        // AcqRel: releases the raised `watchers`, acquires what led to the word.
        Word::from_bits(self.slots[member].word.fetch_or(0, Ordering::AcqRel))
    }

    /// Touches several.
    pub(super) fn touch_all(&self, members: std::ops::Range<usize>) {
        for member in members {
            self.touch(member);
        }
    }

    /// Waits until every member that can run has entered the guest since the call, or was there: the
    /// stronger form of a resume, which by itself is complete when no word is PAUSED.
    ///
    /// A member that cannot run is not waited for: one that is held (again), killed or dead, that waits for a
    /// ticket, or whose thread has not started. Threads that are asleep at their parks enter only once they are
    /// woken, by the drop of [`Resumed`]; [`Resumed::wait_entered`] does both.
    ///
    /// # Errors
    /// The members that were still on their way at the deadline. They go on being so.
    pub fn wait_entered(&self, deadline: Deadline) -> Result<(), Stuck> {
        let clock = Clock::start(deadline);
        let watch = Watch::new(self);
        let mut waiting = self.on_their_way();
        let arrived = watch.until(
            || clock.left(),
            || {
                waiting.retain(|way| self.is_still(*way));
                waiting.is_empty()
            },
        );
        if arrived {
            return Ok(());
        }
        let since = clock.elapsed();
        let stuck = |way: OnTheWay| {
            let member = way.member;
            StuckMember { member, word: self.load(member), since }
        };
        Err(Stuck::on_the_way(waiting.into_iter().map(stuck).collect()))
    }

    /// Touches every word; those that are on their way.
    fn on_their_way(&self) -> Vec<OnTheWay> {
        (0..self.len())
            .map(|member| OnTheWay { member, told: self.told(member) })
            .filter(|way| self.touch(way.member).is_on_its_way())
            .collect()
    }

    /// Who entered and left again is not in the guest, but has been: its slot says so.
    fn is_still(&self, way: OnTheWay) -> bool {
        self.load(way.member).is_on_its_way() && self.told(way.member) == way.told
    }

    /// Changes of a word that were told.
    fn told(&self, member: usize) -> u32 {
        // Relaxed: what is counted before the word is touched is of no interest, and all after it is seen
        // with the generation.
        self.slots[member].told.load(Ordering::Relaxed)
    }
}

impl Resumed {
    /// Wakes the threads and waits until every member that can run has entered the guest
    /// ([`Group::wait_entered`]).
    ///
    /// # Errors
    /// The members that were still on their way at the deadline. The group is resumed all the same.
    pub fn wait_entered(self, deadline: Deadline) -> Result<Released, Stuck> {
        let (group, released) = (std::sync::Arc::clone(self.group()), self.released());
        drop(self);
        group.wait_entered(deadline).map(|()| released)
    }
}

#[cfg(test)]
mod tests;
