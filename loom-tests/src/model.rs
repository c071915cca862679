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

/// The production types, in which the checker must find nothing. Explored twice, because the values that
/// reads may see and the preemptions multiply (see [`vcpu_state::sync::Reads`]).
#[derive(Clone, Copy)]
pub struct Ours {
    /// One execution.
    pub run: fn(),
    /// How far to explore when a read of a word may see any value that the memory model allows.
    pub any: Bound,
    /// How far to explore when it sees the newest.
    pub newest: Bound,
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

/// Which half of a model, and how ours is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The protocol that had the bug.
    Historic,
    /// The production types; a read of a word may see any value that the memory model allows.
    Ours,
    /// The production types; a read of a word sees the newest value.
    OursNewest,
}

impl Half {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Historic, Self::Ours, Self::OursNewest];
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Historic => "historic",
            Self::Ours => "ours",
            Self::OursNewest => "ours-newest",
        })
    }
}

impl Model {
    /// A scenario without a past.
    pub const fn basic(name: &'static str, ours: fn()) -> Self {
        let ours = Ours { run: ours, any: Bound::Preemptions(1), newest: Bound::Preemptions(2) };
        Self { name, historic: None, ours }
    }

    /// A race: the protocol that had it and what must be found there, and ours.
    pub const fn race(name: &'static str, historic: fn(), finds: Finding, ours: fn()) -> Self {
        let historic = Historic { run: historic, bound: Bound::Exhaustive, finds };
        Self { historic: Some(historic), ..Self::basic(name, ours) }
    }

    /// The same, with ours explored this far, for reads of any value and for reads of the newest.
    #[must_use]
    pub const fn explored(mut self, any: Bound, newest: Bound) -> Self {
        self.ours.any = any;
        self.ours.newest = newest;
        self
    }

    /// What a half runs and how far, or `None` where the model does not have it.
    pub fn half(&self, half: Half) -> Option<(fn(), Bound)> {
        match half {
            Half::Historic => self.historic.map(|historic| (historic.run, historic.bound)),
            Half::Ours => Some((self.ours.run, self.ours.any)),
            Half::OursNewest => Some((self.ours.run, self.ours.newest)),
        }
    }
}
