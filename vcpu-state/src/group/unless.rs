//! A pause that its pauser may give up while it waits.
//!
//! ```text
//!   Pending ──wait_all_unless()──▶ Quiesced                     whoever gives up:  makes `given_up` true ─▶ remind()
//!              │  deadline: Stuck
//!              └──given up: GivenUp (the request is taken back)
//! ```
//!
//! The countdown of acks moves for acks only, so that one who sleeps on it cannot be told of anything else. Here the words are
//! watched instead ([`Watch`]), which costs a wake for each member that stops: for pauses of which it is known that they may last.
//!
//! Invariant: whoever is reminded after `given_up` has become true comes back, with the one or the other. If every member is
//! quiescent by then, it is paused.

use super::Group;
use super::pause::{PauseError, Pending, Quiesced};
use super::wait::Deadline;
use super::watch::Watch;
use crate::sync::Arc;
use crate::word::Word;

impl Group {
    /// Asks every member to stop and waits until all have, or until `given_up`, as in [`Pending::wait_all_unless`].
    ///
    /// # Errors
    /// As for [`Group::signal_all`] and [`Pending::wait_all_unless`].
    pub fn pause_unless(
        self: &Arc<Self>,
        deadline: Deadline,
        given_up: impl Fn() -> bool,
    ) -> Result<Quiesced, PauseError> {
        self.signal_all_by(deadline)?.wait_all_unless(given_up)
    }
}

impl Pending {
    /// Waits until every member is quiescent, or until `given_up`, which is looked at again whenever a member stops and
    /// whenever [`Group::remind`] is called.
    ///
    /// # Errors
    /// The members that were not, by the deadline or when it was given up; the request has been taken back then.
    pub fn wait_all_unless(self, given_up: impl Fn() -> bool) -> Result<Quiesced, PauseError> {
        let group = self.hold.group();
        let members = || self.hold.members();
        let owe = || members().any(|member| group.load(member).owes_ack());
        // While it holds them, one that is quiescent stays so, and what a word says needs no count.
        if owe() {
            let watch = Watch::new(group);
            group.touch_all(members());
            let mut is_given_up = false;
            watch.until(
                || self.clock.left(),
                || {
                    is_given_up = given_up();
                    is_given_up || !owe()
                },
            );
            // The words decide, whatever has ended the wait.
            self.clock.report(group, members(), Word::owes_ack).map_err(|stuck| {
                if is_given_up { PauseError::GivenUp(stuck) } else { PauseError::Stuck(stuck) }
            })?;
        }
        Ok(self.quiesced())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::event::Event;
    use crate::group::Awaited;
    use crate::group::NoKick;
    use crate::{Member, Parked};

    /// A group of which the first member is in its loop.
    fn group() -> (Arc<Group>, Member) {
        let group = Group::new(2, Box::new(NoKick));
        let Some(mut member) = group.member(0) else { panic!("it has no owner yet") };
        assert_eq!(member.start(), Ok(Parked::Resumed));
        (group, member)
    }

    #[test]
    fn a_pause_that_is_given_up_names_who_did_not_stop_and_is_taken_back() {
        let (group, _member) = group();
        let looked = Cell::new(0);
        let paused = group.pause_unless(Deadline::Never, || {
            looked.set(looked.get() + 1);
            // Each look brings the next.
            group.remind();
            looked.get() == 2
        });
        let Err(PauseError::GivenUp(stuck)) = paused else { panic!("it runs") };
        assert_eq!(stuck.awaited, Awaited::StillPoint);
        assert_eq!(stuck.members.iter().map(|it| it.member).collect::<Vec<_>>(), [0]);
        assert!(group.words().all(|word| word.holders() == 0));
        assert_eq!(group.outstanding.load(), 0);
    }

    #[test]
    fn members_that_stop_while_it_is_given_up_are_paused() {
        let (group, _member) = group();
        let paused = group.pause_unless(Deadline::Never, || {
            let epoch = group.load(0).epoch();
            group.apply(0, Event::AckPause { epoch }).unwrap();
            true
        });
        drop(paused.unwrap());
        assert!(group.words().all(|word| word.holders() == 0));
    }

    #[test]
    fn a_deadline_holds_as_in_any_pause() {
        let (group, member) = group();
        let passed = Deadline::After(Duration::ZERO);
        let paused = group.pause_unless(passed, || false).map(drop);
        assert!(matches!(paused, Err(PauseError::Stuck(_))), "{paused:?}");
        drop(member);
        drop(group.pause_unless(passed, || panic!("nobody owes an ack")).unwrap());
        assert!(group.words().all(|word| word.holders() == 0));
    }
}
