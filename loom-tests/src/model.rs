//! What a model declares: its name, its halves, how far each is explored, and what must be found.

use std::fmt;
use std::str::FromStr;

/// A scenario, under the name that it has in the catalogue.
#[derive(Clone, Copy)]
pub struct Model {
    /// The entry's name.
    pub name: &'static str,
    /// The protocol that had the bug; `None` for a scenario that is not a race of the past.
    pub historic: Option<Historic>,
    /// The production types in the same scenario.
    pub ours: Ours,
}

/// A protocol in which the checker must find the failure.
#[derive(Clone, Copy)]
pub struct Historic {
    /// One execution.
    pub run: fn(),
    /// How far to explore.
    pub bound: Bound,
    /// What must be found.
    pub finds: Finding,
}

/// The production types, in which the checker must find nothing.
#[derive(Clone, Copy)]
pub struct Ours {
    /// One execution.
    pub run: fn(),
    /// How far to explore.
    pub bound: Bound,
}

/// How far a model is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Every interleaving and every value that a load may see.
    Exhaustive,
    /// Those with at most so many preemptions (switches away from a thread that could go on).
    Preemptions(usize),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhaustive => f.write_str("none"),
            Self::Preemptions(n) => write!(f, "{n}"),
        }
    }
}

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Exhaustive),
            _ => text.parse().map(Self::Preemptions).map_err(|_| "a bound is a number, or 'none'"),
        }
    }
}

/// How a historic protocol fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No thread can go on.
    Deadlock,
    /// An invariant is violated: the model's assertion with this message.
    Violation(&'static str),
}

impl Finding {
    /// Whether a panic of the model with this message is what was to be found.
    pub fn is(self, message: &str) -> bool {
        match self {
            // The checker's own words for it.
            Self::Deadlock => message.starts_with("deadlock; threads = "),
            Self::Violation(text) => message.starts_with(text),
        }
    }

    /// One word for it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Violation(_) => "violation",
        }
    }
}

/// Which half of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The protocol that had the bug.
    Historic,
    /// The production types.
    Ours,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Historic => "historic",
            Self::Ours => "ours",
        })
    }
}

impl Model {
    /// A scenario without a past.
    pub const fn basic(name: &'static str, run: fn(), bound: Bound) -> Self {
        Self { name, historic: None, ours: Ours { run, bound } }
    }

    /// What a half runs and how far, or `None` where the model does not have it.
    pub fn half(&self, half: Half) -> Option<(fn(), Bound)> {
        match half {
            Half::Historic => self.historic.map(|historic| (historic.run, historic.bound)),
            Half::Ours => Some((self.ours.run, self.ours.bound)),
        }
    }
}
