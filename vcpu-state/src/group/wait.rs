//! Waiting for members: a deadline reports who is stuck, it never decides what is true.

use std::fmt;
use std::time::{Duration, Instant};

use super::Group;
use crate::sync::FutexWord;
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

/// Members had not arrived by the deadline. What was asked of them has been taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Stuck {
    /// Each of them.
    pub members: Vec<StuckMember>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} not reached a still point:", self.members.len())?;
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

    /// Those of the group for which `stuck` holds now, or `Ok` when there is none.
    pub(super) fn report(&self, group: &Group, stuck: impl Fn(Word) -> bool) -> Result<(), Stuck> {
        let since = self.elapsed();
        let members: Vec<_> = group
            .words()
            .enumerate()
            .filter(|(_, word)| stuck(*word))
            .map(|(member, word)| StuckMember { member, word, since })
            .collect();
        if members.is_empty() { Ok(()) } else { Err(Stuck { members }) }
    }
}

/// Waits on a generation until no word of the group satisfies `waiting`.
pub(super) fn until_none(
    group: &Group,
    generation: &FutexWord,
    deadline: Deadline,
    waiting: impl Fn(Word) -> bool,
) -> Result<(), Stuck> {
    let clock = Clock::start(deadline);
    loop {
        // The generation first, then the words: a change in between moves the generation.
        let seen = generation.load();
        if !group.words().any(&waiting) {
            return Ok(());
        }
        match clock.left() {
            Ok(left) => generation.wait(seen, left),
            Err(()) => return clock.report(group, waiting),
        }
    }
}
