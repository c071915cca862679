//! Pause and resume of a group: signal all, then wait for all.
//!
//! ```text
//!   Group ──signal_all()──▶ Pending ──wait_all()──▶ Quiesced ──resume()/drop──▶ (released)
//!                              │  deadline: Stuck        ▲
//!                              └──drop──▶ (released)     └ the only key to a member's state
//! ```
//!
//! Invariants: between `signal_all` and the release this pauser is counted as a holder in every
//! word; a failure half way takes back exactly what was added; nothing is held while waiting that a
//! member could want.

use std::ops::Range;
use std::time::Duration;

use super::parts::{PauseParts, Times};
use super::wait::{Clock, Deadline, Stuck};
use super::{Change, Group};
use crate::event::Event;
use crate::sync::Arc;
use crate::word::Word;

/// A member is held by as many pausers as a word can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {member} is held by {} pausers already", Word::MAX_HOLDERS)]
pub struct TooManyHolders {
    /// Its index.
    pub member: usize,
}

/// One pauser's hold on every member of a group, or on some; dropping it lets go.
pub(super) struct Hold {
    group: Arc<Group>,
    members: Range<usize>,
    released: bool,
}

/// Every member has been asked to stop. Must be waited for; dropping it takes the request back.
#[must_use = "the members were only asked: wait_all() says when they are still"]
pub struct Pending {
    pub(super) hold: Hold,
    pub(super) clock: Clock,
    signalled: Duration,
}

/// Proof that every member of a group is quiescent, for as long as it lives. Dropping it resumes.
#[must_use = "dropping it resumes the group at once"]
pub struct Quiesced {
    hold: Hold,
    times: Times,
}

/// What a release did. Of several holders exactly the last one out is told [`Running`](Self::Running),
/// whatever the order in which their releases interleave. Those who hold but some members count for
/// the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// No pauser is left: every word has left PAUSED (or a new pauser has begun to ask since).
    Running,
    /// Another pauser still holds the group.
    StillHeld,
}

/// A group that was let go, or some members of it. Its drop wakes the threads that are asleep at their parks and that nobody
/// has asked again meanwhile.
#[must_use = "dropping it wakes the parked threads"]
pub struct Resumed {
    group: Arc<Group>,
    members: Range<usize>,
    released: Released,
    /// Flags of the words that were let go.
    asleep: Word,
}

impl Resumed {
    /// Whether the group runs, or another pauser still holds it.
    #[must_use]
    pub fn released(&self) -> Released {
        self.released
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

impl Drop for Resumed {
    fn drop(&mut self) {
        // After the last swap, so that one wake is enough for everybody. It is left out only if it is somebody else's: a
        // member that is held was asked after this release, so the release of the last one who asked comes after this, too, and
        // finds it parked, unless it has left its park by itself.
        let waits = |word: Word| word.any(Word::PARKED) && !word.any(Word::PAUSE_REQUESTED);
        if self.members.clone().any(|member| waits(self.group.load(member))) {
            self.group.wake_waiters(self.asleep);
        }
    }
}

impl Group {
    /// Asks every member to stop and returns without waiting.
    ///
    /// # Errors
    /// A member has too many holders; nobody has been asked then.
    pub fn signal_all(self: &Arc<Self>) -> Result<Pending, TooManyHolders> {
        self.signal_all_by(Deadline::Never)
    }

    /// Like [`Group::signal_all`], with a deadline that [`Pending::wait_all`] reports at.
    ///
    /// # Errors
    /// As for [`Group::signal_all`].
    pub fn signal_all_by(self: &Arc<Self>, deadline: Deadline) -> Result<Pending, TooManyHolders> {
        let clock = Clock::start(deadline);
        Ok(Pending { hold: self.hold(0..self.len())?, signalled: self.elapsed(), clock })
    }

    /// Asks these members to stop, all or none.
    pub(super) fn hold(self: &Arc<Self>, members: Range<usize>) -> Result<Hold, TooManyHolders> {
        let end = members.end.min(self.len());
        let members = members.start.min(end)..end;
        let all = u32::try_from(members.len()).unwrap_or(u32::MAX);
        self.outstanding.add(all);
        let mut spare = all;
        let mut woken = 0;
        for member in members.clone() {
            let Ok(Change { old, new }) = self.swap(member, Event::RequestPause) else {
                self.acked(spare);
                drop(self.release_range(members.start..member));
                return Err(TooManyHolders { member });
            };
            if new.owes_ack() && !old.owes_ack() {
                spare -= 1;
            }
            if old.any(Word::IN_GUEST) {
                self.kick.kick(member);
            }
            if !old.any(Word::PARKED) {
                woken |= old.bits() & Word::ACTIVATION_PENDING;
            }
        }
        self.wake_waiters(Word::from_bits(woken));
        self.acked(spare);
        Ok(Hold { group: Arc::clone(self), members, released: false })
    }

    /// Asks every member to stop and waits until all have.
    ///
    /// # Errors
    /// As for [`Group::signal_all`] and [`Pending::wait_all`].
    pub fn pause(self: &Arc<Self>, deadline: Deadline) -> Result<Quiesced, PauseError> {
        Ok(self.signal_all_by(deadline)?.wait_all()?)
    }

    /// Lets go of the members, in ascending order: the last of them says who was the last one out.
    ///
    /// Of two that let go at once each may be the last one out of *some* member. But whoever finds the
    /// last member without another holder comes after every other release, of the other members, too.
    fn release_range(self: &Arc<Self>, members: Range<usize>) -> Resumed {
        let mut woken = 0;
        let mut released = Released::Running;
        for member in members.clone() {
            if let Ok(Change { old, new }) = self.apply(member, Event::ReleasePause) {
                if new.any(Word::PAUSE_REQUESTED) {
                    released = Released::StillHeld;
                } else {
                    released = Released::Running;
                    woken |= old.bits() & Word::PARKED;
                }
            }
        }
        let asleep = Word::from_bits(woken);
        Resumed { group: Arc::clone(self), members, released, asleep }
    }
}

/// A pause failed; the group is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// A member has too many holders.
    #[error(transparent)]
    TooManyHolders(#[from] TooManyHolders),
    /// Members did not stop by the deadline.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// Members had not stopped when their pauser gave up waiting.
    #[error("given up: {0}")]
    GivenUp(Stuck),
}

impl Pending {
    /// Waits until every member is quiescent.
    ///
    /// # Errors
    /// The members that were not by the deadline; the request has been taken back then.
    pub fn wait_all(self) -> Result<Quiesced, Stuck> {
        let group = &self.hold.group;
        loop {
            let owed = group.outstanding.load();
            if owed == 0 {
                break;
            }
            if let Ok(left) = self.clock.left() {
                group.outstanding.wait(owed, left);
            } else {
                // The words decide. The count may still be above zero because of another pauser
                // that has not finished asking.
                self.clock.report(group, 0..group.len(), Word::owes_ack)?;
                break;
            }
        }
        Ok(self.quiesced())
    }

    /// Every member is quiescent.
    pub(super) fn quiesced(self) -> Quiesced {
        let group = &self.hold.group;
        let begun = group.stamp_of(self.clock.begun());
        let times = Times { begun, signalled: self.signalled, ended: group.elapsed() };
        Quiesced { times, hold: self.hold }
    }
}

impl Quiesced {
    /// From the first request to the last acknowledgement.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.times.ended.saturating_sub(self.times.begun)
    }

    /// Where that time went. Zeros under a model checker, which has no time.
    #[must_use]
    pub fn parts(&self) -> PauseParts {
        self.times.parts(self.group(), self.hold.members())
    }

    /// The group that is still.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.hold.group
    }

    /// Lets go. When it returns and no other pauser holds the group, every word has left PAUSED.
    pub fn resume(self) -> Released {
        self.release().released()
    }

    /// Lets go like [`Quiesced::resume`], and leaves waking the threads that are asleep at their parks
    /// to the drop of what it returns: so that a caller can tell somebody of the resume before hundreds
    /// of threads want the processor. The words say already that nobody is held; a pause
    /// that comes before the wake takes them back as they sleep, and leaves their wake to its own release.
    pub fn release(self) -> Resumed {
        self.hold.release()
    }
}

impl Hold {
    pub(super) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(super) fn members(&self) -> Range<usize> {
        self.members.clone()
    }

    pub(super) fn release(mut self) -> Resumed {
        self.let_go()
    }

    fn let_go(&mut self) -> Resumed {
        self.released = true;
        self.group.release_range(self.members())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.released {
            drop(self.let_go());
        }
    }
}
