//! Holding some members of a group: the same holds as a pause of all, waited for by the words.
//!
//! ```text
//!   Group ──signal_range()──▶ PendingRange ──wait_all()──▶ QuiescedRange ──resume()/drop──▶ (released)
//!                                  │  deadline: Stuck
//!                                  └──drop──▶ (released)
//! ```
//!
//! The group's countdown of acks cannot tell whose acks are owed, so that one who waits for some members
//! would wait for those of another pauser, too. Here the members' own words are looked at, whenever one of them
//! changes ([`Watch`]); the countdown is kept all the same, for those who pause all.
//!
//! Invariant: a [`QuiescedRange`] is no [`Quiesced`](super::Quiesced): what needs the whole group still cannot
//! be done with it.

use std::ops::Range;
use std::time::Duration;

use super::pause::{Hold, Released, Resumed};
use super::wait::{Clock, Deadline, Stuck};
use super::watch::Watch;
use super::{Group, PauseError, TooManyHolders};
use crate::sync::Arc;
use crate::word::Word;

/// Some members have been asked to stop. Dropping it takes the request back.
#[must_use = "the members were only asked: wait_all() says when they are still"]
pub struct PendingRange {
    hold: Hold,
    clock: Clock,
}

/// These members of a group are quiescent for as long as it lives. Dropping it lets go of them.
#[must_use = "dropping it lets go of the members at once"]
pub struct QuiescedRange {
    hold: Hold,
    latency: Duration,
}

impl Group {
    /// Asks these members to stop and returns without waiting. Indices that the group does not have
    /// are left out.
    ///
    /// # Errors
    /// A member has too many holders; nobody has been asked then.
    pub fn signal_range(
        self: &Arc<Self>,
        members: Range<usize>,
        deadline: Deadline,
    ) -> Result<PendingRange, TooManyHolders> {
        let clock = Clock::start(deadline);
        Ok(PendingRange { hold: self.hold(members)?, clock })
    }

    /// Asks these members to stop and waits until they have.
    ///
    /// # Errors
    /// As for [`Group::signal_range`] and [`PendingRange::wait_all`].
    pub fn pause_range(
        self: &Arc<Self>,
        members: Range<usize>,
        deadline: Deadline,
    ) -> Result<QuiescedRange, PauseError> {
        Ok(self.signal_range(members, deadline)?.wait_all()?)
    }

    /// Waits until none of these members is held by anybody, or until `given_up`, which is looked at again
    /// whenever [`Group::remind`] is called.
    pub(crate) fn wait_free(&self, members: Range<usize>, given_up: impl Fn() -> bool) {
        let watch = Watch::new(self);
        self.touch_all(members.clone());
        let held = |member| self.load(member).any(Word::PAUSE_REQUESTED);
        watch.until(|| Ok(None), || given_up() || !members.clone().any(held));
    }

    /// Makes everybody who watches, or naps on the group's news, look again. Whoever gives up a wait changes first what the
    /// waiter looks at. Waits for nothing.
    pub fn remind(&self) {
        self.news.advance();
    }
}

impl PendingRange {
    /// Waits until each of these members is quiescent.
    ///
    /// # Errors
    /// Those that were not by the deadline; the request has been taken back then.
    pub fn wait_all(self) -> Result<QuiescedRange, Stuck> {
        let clock = &self.clock;
        if !self.wait(|| clock.left(), || false) {
            clock.report(self.hold.group(), self.hold.members(), Word::owes_ack)?;
        }
        Ok(QuiescedRange { latency: self.clock.elapsed(), hold: self.hold })
    }

    /// Waits until each is quiescent, for so long at most, or until `given_up`, as in [`Group::wait_free`]. The hold
    /// stays either way.
    pub(crate) fn wait_unless(&self, limit: Option<Duration>, given_up: impl Fn() -> bool) {
        let clock = Clock::start(limit.map_or(Deadline::Never, Deadline::After));
        self.wait(|| clock.left(), given_up);
    }

    fn wait(
        &self,
        left: impl Fn() -> Result<Option<Duration>, ()>,
        given_up: impl Fn() -> bool,
    ) -> bool {
        let group = self.hold.group();
        // While it holds them, one that is quiescent stays so, and what a word says needs no count.
        let so = || given_up() || !self.hold.members().any(|member| group.load(member).owes_ack());
        if so() {
            return true;
        }
        let watch = Watch::new(group);
        group.touch_all(self.hold.members());
        watch.until(left, so)
    }

    /// Lets go; the drop of what it returns wakes the threads.
    pub(crate) fn release(self) -> Resumed {
        self.hold.release()
    }
}

impl QuiescedRange {
    /// From the first request to the last acknowledgement.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// Lets go. [`Released::Running`] says that nobody holds the last of these members any longer.
    pub fn resume(self) -> Released {
        self.release().released()
    }

    /// Lets go, as [`Quiesced::release`](super::Quiesced::release) does.
    pub fn release(self) -> Resumed {
        self.hold.release()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;
    use crate::group::NoKick;
    use crate::{Member, Parked};

    /// A group of which the first member is in its loop.
    fn group(members: usize) -> (Arc<Group>, Member) {
        let group = Group::new(members, Box::new(NoKick));
        let Some(mut member) = group.member(0) else { panic!("it has no owner yet") };
        assert_eq!(member.start(), Ok(Parked::Resumed));
        (group, member)
    }

    /// Gives up at the second look; how often it was looked. Each look brings the next.
    fn looks(group: &Group, wait: impl FnOnce(&dyn Fn() -> bool)) -> u32 {
        let looked = Cell::new(0);
        wait(&|| {
            looked.set(looked.get() + 1);
            assert!(looked.get() <= 2, "it had given up");
            group.remind();
            looked.get() == 2
        });
        looked.get()
    }

    #[test]
    fn members_that_are_held_are_waited_for_until_given_up() {
        let (group, _member) = group(2);
        let wait = || looks(&group, |given_up| group.wait_free(0..2, given_up));
        assert_eq!(wait(), 1, "nobody holds them");
        let held = group.signal_range(1..2, Deadline::Never).unwrap();
        assert_eq!(wait(), 2);
        assert_eq!(looks(&group, |given_up| group.wait_free(0..1, given_up)), 1);
        drop(held);
        assert_eq!(wait(), 1);
    }

    #[test]
    fn members_that_owe_an_ack_are_waited_for_until_given_up_or_the_limit() {
        let (group, member) = group(2);
        let quiet = group.signal_range(1..2, Deadline::Never).unwrap();
        assert_eq!(looks(&group, |given_up| quiet.wait_unless(None, given_up)), 1);
        let asked = group.signal_range(0..1, Deadline::Never).unwrap();
        assert_eq!(looks(&group, |given_up| asked.wait_unless(None, given_up)), 2);
        // Once before it watches, once after, and once more when the time has run out.
        let looked = Cell::new(0);
        asked.wait_unless(Some(Duration::ZERO), || {
            looked.set(looked.get() + 1);
            false
        });
        assert_eq!(looked.get(), 3);
        assert!(group.load(0).owes_ack(), "the hold stays");
        drop(member);
        assert_eq!(looks(&group, |given_up| asked.wait_unless(None, given_up)), 1);
    }

    #[test]
    fn those_that_owe_an_ack_at_the_deadline_are_named_and_let_go() {
        let (group, member) = group(3);
        let passed = Deadline::After(Duration::ZERO);
        let asked = group.signal_range(0..3, passed).unwrap();
        let stuck = asked.wait_all().map(drop).unwrap_err();
        assert_eq!(stuck.members.iter().map(|it| it.member).collect::<Vec<_>>(), [0]);
        assert!(group.words().all(|word| word.holders() == 0));
        // Who owes nothing is not stuck, however late it is.
        let held = group.pause_range(1..3, passed).unwrap();
        assert_eq!(group.words().map(Word::holders).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(held.resume(), Released::Running);
        drop(member);
        drop(group.pause_range(0..3, Deadline::Never).unwrap());
        assert!(group.words().all(|word| word.holders() == 0));
    }

    #[test]
    fn the_latency_is_that_from_the_request_to_the_end_of_the_wait() {
        let (group, _member) = group(2);
        let before = Instant::now();
        let asked = group.signal_range(1..2, Deadline::Never).unwrap();
        let since = Instant::now();
        while since.elapsed().is_zero() {}
        let at_least = since.elapsed();
        let held = asked.wait_all().unwrap();
        assert!(at_least <= held.latency() && held.latency() <= before.elapsed());
    }

    #[test]
    fn a_reminder_is_a_new_generation() {
        let (group, _member) = group(1);
        let seen = group.news.load();
        group.remind();
        assert_eq!(group.news.load(), seen + 1);
    }
}
