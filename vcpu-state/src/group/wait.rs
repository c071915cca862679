//! Waiting for members: a deadline reports who is stuck, it never decides what is true.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::Group;
use crate::sync::FutexWord;
use crate::ticket::{Outcome, Ticket};
use crate::word::Word;

/// How long to wait before giving up and saying who is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For ever.
    Never,
    /// This long.
    After(Duration),
}

/// A member that had not arrived by the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckMember {
    /// Its index in the group.
    pub member: usize,
    /// Its word at the deadline.
    pub word: Word,
    /// Time since it was asked.
    pub since: Duration,
}

/// What members had not come to by a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The acknowledgement of a pause. The request has been taken back.
    StillPoint,
    /// The end of their threads.
    Death,
    /// An entry into the guest.
    Guest,
}

impl Awaited {
    const fn name(self) -> &'static str {
        match self {
            Self::StillPoint => "a still point",
            Self::Death => "their end",
            Self::Guest => "the guest",
        }
    }
}

/// Members had not arrived by the deadline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Stuck {
    /// Each of them.
    pub members: Vec<StuckMember>,
    /// Where they had not arrived.
    pub awaited: Awaited,
}

impl Stuck {
    /// Those that should have entered the guest.
    pub(super) fn on_the_way(members: Vec<StuckMember>) -> Self {
        Self { members, awaited: Awaited::Guest }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} not reached {}:", self.members.len(), self.awaited.name())?;
        for stuck in &self.members {
            write!(f, " member {} ({}, {:?})", stuck.member, stuck.word, stuck.since)?;
        }
        Ok(())
    }
}

/// A deadline, begun.
pub(super) struct Clock {
    begun: Instant,
    deadline: Deadline,
}

impl Clock {
    pub(super) fn start(deadline: Deadline) -> Self {
        Self { begun: Instant::now(), deadline }
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What is left: `Ok(None)` for ever, `Err` when it has passed.
    pub(super) fn left(&self) -> Result<Option<Duration>, ()> {
        match self.deadline {
            Deadline::Never => Ok(None),
            Deadline::After(limit) => {
                limit.checked_sub(self.elapsed()).filter(|left| !left.is_zero()).map(Some).ok_or(())
            }
        }
    }

    /// Those of the members that owe an ack now, or `Ok` when there is none.
    pub(super) fn report(
        &self,
        group: &Group,
        members: Range<usize>,
        stuck: impl Fn(Word) -> bool,
    ) -> Result<(), Stuck> {
        let members = self.those(group, members, stuck);
        let awaited = Awaited::StillPoint;
        if members.is_empty() { Ok(()) } else { Err(Stuck { members, awaited }) }
    }

    fn those(
        &self,
        group: &Group,
        members: Range<usize>,
        stuck: impl Fn(Word) -> bool,
    ) -> Vec<StuckMember> {
        let since = self.elapsed();
        members
            .map(|member| StuckMember { member, word: group.load(member), since })
            .filter(|member| stuck(member.word))
            .collect()
    }
}

/// A ticket was not done by the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work is not done yet")]
pub struct NotDone;

impl Group {
    /// Waits for a ticket of this group's, on a thread that is none of its members. (A member waits in its own word, with
    /// [`crate::Member::wait_ticket`], so that a pause or kill ends its wait.)
    ///
    /// # Errors
    /// The work was not done by the deadline. It goes on, and can be waited for again.
    pub fn wait_ticket(&self, ticket: &Ticket, deadline: Deadline) -> Result<Outcome, NotDone> {
        let clock = Clock::start(deadline);
        loop {
            // The generation first, then the ticket: its end moves the generation.
            let seen = self.ticketing.load();
            if let Some(outcome) = ticket.outcome() {
                return Ok(outcome);
            }
            match clock.left() {
                Ok(left) => self.ticketing.wait(seen, left),
                Err(()) => return ticket.outcome().ok_or(NotDone),
            }
        }
    }
}

/// Waits on a generation until no word of the group is `alive`.
pub(super) fn until_none(
    group: &Group,
    generation: &FutexWord,
    deadline: Deadline,
    alive: impl Fn(Word) -> bool,
) -> Result<(), Stuck> {
    let clock = Clock::start(deadline);
    loop {
        // The generation first, then the words: a change in between moves the generation.
        let seen = generation.load();
        if !group.words().any(&alive) {
            return Ok(());
        }
        if let Ok(left) = clock.left() {
            generation.wait(seen, left);
        } else {
            let members = clock.those(group, 0..group.len(), alive);
            let awaited = Awaited::Death;
            return if members.is_empty() { Ok(()) } else { Err(Stuck { members, awaited }) };
        }
    }
}
