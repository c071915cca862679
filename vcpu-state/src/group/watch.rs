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
        // Relaxed: what is counted before the word is touched is of no interest, and all after it is seen
        // with the generation.
        let told = |member: usize| self.slots[member].told.load(Ordering::Relaxed);
        let mut waiting: Vec<_> = (0..self.len())
            .map(|member| (member, told(member)))
            .filter(|(member, _)| self.touch(*member).is_on_its_way())
            .collect();
        let mut still = || {
            // Who entered and left again is not in the guest, but has been: its slot says so.
            waiting.retain(|(member, was)| {
                self.load(*member).is_on_its_way() && told(*member) == *was
            });
            waiting.is_empty()
        };
        if watch.until(|| clock.left(), &mut still) {
            return Ok(());
        }
        let since = clock.elapsed();
        let stuck = |(member, _)| StuckMember { member, word: self.load(member), since };
        Err(Stuck::on_the_way(waiting.into_iter().map(stuck).collect()))
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
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::event::{Event, OneShot, transition};
    use crate::group::NoKick;
    use crate::sync::Arc;
    use crate::{Illegal, Parked};

    fn group(members: usize) -> Arc<Group> {
        Group::new(members, Box::new(NoKick))
    }

    /// Generations of the news, and changes counted in the slot.
    fn told(group: &Group, member: usize) -> (u32, u32) {
        (group.news.load(), group.slots[member].told.load(Ordering::Relaxed))
    }

    /// Every coherent word, as far as flags and up to two holders go.
    fn words() -> impl Iterator<Item = Word> {
        let words = (0..=Word::FLAGS)
            .flat_map(|flags| (0..3).map(move |holders| Word::from_bits(flags | holders << 16)));
        words.filter(|word| word.is_coherent())
    }

    #[test]
    fn news_is_the_end_of_an_owed_ack_of_a_way_to_the_guest_and_of_all_holds() {
        for old in words() {
            let events = [
                (Event::Enter, true),
                (Event::AckPause { epoch: 0 }, true),
                (Event::ReleasePause, old.holders() == 1),
                (Event::RequestPause, old.is_on_its_way()),
                (Event::Kill, old.is_on_its_way()),
                (Event::BeginActivation, old.is_on_its_way()),
                (Event::Die, old.is_on_its_way() || old.owes_ack()),
                (Event::Start, false),
                (Event::Leave, false),
                (Event::Unpark, false),
                (Event::EndActivation, false),
                (Event::Reincarnate, false),
                (Event::Ask(OneShot::Nmi), false),
                (Event::Take(OneShot::Nmi), false),
            ];
            for (event, must) in events {
                if let Ok(new) = transition(old, event) {
                    assert_eq!(Change { old, new }.is_news(), must, "{old} --{event:?}--> {new}");
                }
            }
        }
    }

    #[test]
    fn news_is_told_while_somebody_watches_and_only_then() {
        let group = group(2);
        let mut member = group.member(0).unwrap();
        assert_eq!(member.start(), Ok(Parked::Resumed));
        let mut enter_and_leave = || {
            let before = told(&group, 0);
            assert_eq!(member.enter(), Ok(()));
            let entered = told(&group, 0);
            member.leave();
            assert_eq!(told(&group, 0), entered, "to have left is no news");
            assert_eq!(told(&group, 1).1, 0, "it is told in its own slot");
            (entered.0 - before.0, entered.1 - before.1)
        };
        assert_eq!(enter_and_leave(), (0, 0));
        let watch = Watch::new(&group);
        assert_eq!(enter_and_leave(), (1, 1));
        drop(watch);
        assert_eq!(enter_and_leave(), (0, 0));
    }

    #[test]
    fn when_the_time_has_run_out_the_words_are_looked_at_once_more() {
        let group = group(1);
        let watch = Watch::new(&group);
        let after = |looks: u32, left: Result<Option<Duration>, ()>| {
            let looked = Cell::new(0);
            let so = || {
                looked.set(looked.get() + 1);
                looked.get() >= looks
            };
            (watch.until(|| left, so), looked.get())
        };
        assert_eq!(after(1, Ok(None)), (true, 1));
        assert_eq!(after(1, Err(())), (true, 1));
        assert_eq!(after(2, Err(())), (true, 2));
        assert_eq!(after(3, Err(())), (false, 2));
    }

    #[test]
    fn a_touched_word_is_read_and_not_changed() {
        let group = group(1);
        assert_eq!(group.touch(0), Word::NEW);
        let mut member = group.member(0).unwrap();
        assert_eq!(member.start(), Ok(Parked::Resumed));
        assert_eq!(member.enter(), Ok(()));
        let word = Word::from_bits(Word::RUN | Word::IN_GUEST);
        assert_eq!((group.touch(0), group.load(0)), (word, word));
    }

    #[test]
    fn those_on_their_way_are_waited_for_and_named_at_the_deadline() {
        let group = group(3);
        let mut members: Vec<_> = (0..2).map(|slot| group.member(slot).unwrap()).collect();
        // Nobody has started.
        assert_eq!(group.wait_entered(Deadline::After(Duration::ZERO)), Ok(()));
        for member in &mut members {
            assert_eq!(member.start(), Ok(Parked::Resumed));
        }
        let late = |group: &Group| {
            let stuck = group.wait_entered(Deadline::After(Duration::ZERO)).err();
            stuck.map_or(Vec::new(), |stuck| stuck.members.iter().map(|it| it.member).collect())
        };
        assert_eq!(late(&group), [0, 1]);
        assert_eq!(members[0].enter(), Ok(()));
        assert_eq!(late(&group), [1]);
        assert_eq!(members[1].enter(), Ok(()));
        assert_eq!(group.wait_entered(Deadline::Never), Ok(()));
        members[0].leave();
        assert_eq!(late(&group), [0]);
        group.kill(0);
        assert_eq!(members[0].enter(), Err(Illegal::Killed));
        assert_eq!(group.wait_entered(Deadline::Never), Ok(()));
    }
}
