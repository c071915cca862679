//! What can be wrong with a configuration, in each of its three notations.
use std::fmt;

/// Why a configuration makes no VM. Each kind displays as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An option string (`--cpus …`) is wrong.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The JSON of `vm.create` is wrong.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It parses, but no VM can be made of it.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Two devices with one id.
    #[error("two devices have the id {0:?}; each needs its own")]
    DuplicateId(String),
    /// A device that is being removed has the id still.
    #[error("the device {0:?} is leaving: its id is free when the guest has ejected it")]
    Leaving(String),
}

/// What is wrong with one option string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {problem}")]
pub struct OptionError {
    /// The option, with its dashes: `--cpus`.
    pub option: &'static str,
    /// What is wrong with its value.
    pub problem: OptionProblem,
}

/// The kinds of mistakes in an option string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionProblem {
    /// Nothing, or nothing between two commas.
    #[error("empty {place}; {allowed}")]
    Empty {
        /// `value` or `item`.
        place: &'static str,
        /// What could stand there.
        allowed: Allowed,
    },
    /// A bracket without its partner.
    #[error("unbalanced brackets in {0:?}")]
    Brackets(String),
    /// A quote without its partner.
    #[error("quote without an end in {0:?}")]
    Quote(String),
    /// A key that nobody knows.
    #[error("unknown key {key:?}{}; {allowed}", meant(nearest.as_deref()))]
    UnknownKey {
        /// As it was written.
        key: String,
        /// The known key that resembles it most, if one does.
        nearest: Option<String>,
        /// The known keys.
        allowed: Allowed,
    },
    /// A key given twice.
    #[error("key {0:?} is given more than once")]
    Duplicate(String),
    /// A key that takes a value has none.
    #[error("key {key:?} needs a value: {key}={expected}")]
    MissingValue {
        /// The key.
        key: String,
        /// The form of its values.
        expected: &'static str,
    },
    /// A key that must be there is not.
    #[error("{key}= is missing; {allowed}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The known keys.
        allowed: Allowed,
    },
    /// A key that means something only beside another.
    #[error("{key}= needs {needs}= beside it")]
    Incomplete {
        /// The key that is there.
        key: &'static str,
        /// The key that is not.
        needs: &'static str,
    },
    /// A word that stands alone has a value.
    #[error("{0:?} stands alone, without \"=\"")]
    UnexpectedValue(String),
    /// A value that is none.
    #[error("{key}={value:?} is not valid; expected {expected}")]
    InvalidValue {
        /// The key.
        key: String,
        /// As it was written.
        value: String,
        /// The form of valid ones.
        expected: &'static str,
    },
    /// Several words of which only one can hold.
    #[error("{0:?} and {1:?} exclude each other")]
    Conflict(String, String),
    /// Cloud Hypervisor has it, this VMM does not.
    #[error("{key}={value:?} asks for something that is not supported; leave {key:?} out")]
    Unsupported {
        /// The key.
        key: String,
        /// As it was written.
        value: String,
    },
}

/// The keys that are allowed; displays as `allowed: a=, b=, c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Keys with a value.
    pub keys: &'static [&'static str],
    /// Words that stand alone.
    pub flags: &'static [&'static str],
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.flags.iter().map(|flag| (*flag).to_owned());
        let keys = self.keys.iter().map(|key| format!("{key}="));
        write!(f, "allowed: {}", flags.chain(keys).collect::<Vec<_>>().join(", "))
    }
}

/// What is wrong with the JSON of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("malformed JSON: {0}")]
    Malformed(String),
    /// It is JSON, but of another kind.
    #[error("{path} must be a JSON {expected}, not {found}")]
    WrongKind {
        /// Where.
        path: String,
        /// `object` or `array`.
        expected: &'static str,
        /// The kind of value that stands there.
        found: &'static str,
    },
    /// A field that nobody knows.
    #[error("unknown field {path:?}{}; allowed here: {}", meant(nearest.as_deref()), allowed.join(", "))]
    UnknownField {
        /// Where, with dots.
        path: String,
        /// The known field that resembles it most, if one does.
        nearest: Option<String>,
        /// The known fields.
        allowed: &'static [&'static str],
    },
    /// Cloud Hypervisor has it, this VMM does not.
    #[error("field {path:?} asks for something that is not supported; leave it out or null")]
    Unsupported {
        /// Where, with dots.
        path: String,
    },
    /// A value of the wrong type or range.
    #[error("field {path:?}: {problem}")]
    Value {
        /// Where, with dots.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A configuration that is well-formed but makes no VM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{section}: {problem}")]
pub struct Invalid {
    /// The part of the configuration: `cpus`, `memory`, `disks[1]`, …
    pub section: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A message of one line: what it quotes of a configuration may have line ends in it, or what
/// moves a terminal's cursor.
pub(super) fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for next in message.chars() {
        if next.is_control() {
            line.extend(next.escape_default());
        } else {
            line.push(next);
        }
    }
    line
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(", did you mean {nearest:?}?"))
}
