//! Option strings: `key=value,key=value,word`, as Cloud Hypervisor's `OptionParser` takes them.
//!
//! ```text
//! options = item *( "," item )          item = key "=" value / word
//! value   = anything without a comma, except in "quotes" and [brackets]
//! ```
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::{Allowed, OptionError, OptionProblem};
use super::nearest::nearest;
use super::unsupported::{self, Section};
use super::values::{Unbalanced, parse_toggle, print_toggle, quote, split, unquote};

/// What one option knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grammar {
    /// With dashes: `--cpus`.
    pub option: &'static str,
    /// What may stand in it.
    pub allowed: Allowed,
    /// The JSON object it corresponds to, whose unsupported fields are its unsupported keys.
    pub section: Section,
}

/// The items of one option string: known keys, each at most once.
#[derive(Debug)]
pub(super) struct Options<'a> {
    grammar: &'a Grammar,
    items: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Options<'a> {
    /// Takes `text` apart and checks its keys.
    pub fn parse(grammar: &'a Grammar, text: &'a str) -> Result<Self, OptionError> {
        let mut options = Self { grammar, items: Vec::new() };
        if text.is_empty() {
            return Err(options.error(options.empty("value")));
        }
        let parts = split(text).map_err(|unbalanced| {
            options.error(match unbalanced {
                Unbalanced::Bracket => OptionProblem::Brackets(text.to_owned()),
                Unbalanced::Quote => OptionProblem::Quote(text.to_owned()),
            })
        })?;
        for part in parts {
            options.add(part).map_err(|problem| options.error(problem))?;
        }
        Ok(options)
    }

    fn add(&mut self, part: &'a str) -> Result<(), OptionProblem> {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (part, None),
        };
        if key.is_empty() {
            return Err(self.empty("item"));
        }
        if self.items.iter().any(|(known, _)| *known == key) {
            return Err(OptionProblem::Duplicate(key.to_owned()));
        }
        let Allowed { keys, flags } = self.grammar.allowed;
        let takes_value = keys.contains(&key);
        let is_unsupported = self.grammar.section.unsupported_field(key);
        if let Some(idle) = is_unsupported.filter(|_| !takes_value) {
            let value = value.unwrap_or_default();
            if unsupported::option_asks_for_nothing(idle, &unquote(value)) {
                return Ok(());
            }
            return Err(OptionProblem::Unsupported {
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
        match (takes_value, flags.contains(&key), value) {
            (true, _, Some(_)) | (_, true, None) => {
                self.items.push((key, value));
                Ok(())
            }
            (true, ..) => {
                Err(OptionProblem::MissingValue { key: key.to_owned(), expected: "VALUE" })
            }
            (_, true, _) => Err(OptionProblem::UnexpectedValue(key.to_owned())),
            _ => Err(OptionProblem::UnknownKey {
                key: key.to_owned(),
                nearest: nearest(key, flags.iter().chain(keys).copied()).map(str::to_owned),
                allowed: self.grammar.allowed,
            }),
        }
    }

    /// The value of `key` through `convert`, if it was given. `expected` says what `convert`
    /// takes.
    pub fn value<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, OptionError> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        convert(&unquote(raw)).map(Some).ok_or_else(|| self.invalid(key, raw, expected))
    }

    /// The same for a value with an inner structure, quotes left on.
    pub fn structured<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, OptionError> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        convert(raw).map(Some).ok_or_else(|| self.invalid(key, raw, expected))
    }

    /// A value that reads itself; none if it is empty.
    pub fn parsed<T: FromStr>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<Option<T>, OptionError> {
        let read =
            |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        self.value(key, expected, read).map(Option::flatten)
    }

    /// Any text; none if it is empty.
    pub fn text(&self, key: &str) -> Result<Option<String>, OptionError> {
        self.parsed(key, "text")
    }

    /// A path, which is not empty.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, OptionError> {
        self.value(key, "a path", |path| (!path.is_empty()).then(|| PathBuf::from(path)))
    }

    /// `on` or `off`.
    pub fn toggle(&self, key: &str, default: bool) -> Result<bool, OptionError> {
        self.value(key, "on or off", parse_toggle).map(|on| on.unwrap_or(default))
    }

    /// `value`, or an error that `key` is not there.
    pub fn required<T>(&self, key: &'static str, value: Option<T>) -> Result<T, OptionError> {
        let allowed = self.grammar.allowed;
        value.ok_or_else(|| self.error(OptionProblem::Missing { key, allowed }))
    }

    /// The keys that were given, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.items.iter().map(|(key, _)| *key)
    }

    /// An error about this option.
    pub fn error(&self, problem: OptionProblem) -> OptionError {
        OptionError { option: self.grammar.option, problem }
    }

    /// `place` is empty.
    pub fn empty(&self, place: &'static str) -> OptionProblem {
        OptionProblem::Empty { place, allowed: self.grammar.allowed }
    }

    fn raw(&self, key: &str) -> Option<&'a str> {
        self.items.iter().find(|(known, _)| *known == key).and_then(|(_, value)| *value)
    }

    fn invalid(&self, key: &str, value: &str, expected: &'static str) -> OptionError {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.error(OptionProblem::InvalidValue { key, value, expected })
    }
}

/// An option string in the making. What is as usual is left out.
#[derive(Debug, Default)]
pub(super) struct Printed(String);

impl Printed {
    /// A value that needs no quotes.
    pub fn add(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.extend([key, "=", value]);
    }

    /// A value that may need quotes.
    pub fn text(&mut self, key: &str, value: &str) {
        self.add(key, &quote(value));
    }

    /// The same, unless there is none.
    pub fn optional_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// `on` or `off`, unless it is as usual.
    pub fn toggle(&mut self, key: &str, on: bool, usual: bool) {
        if on != usual {
            self.add(key, print_toggle(on));
        }
    }

    /// A number, unless it is as usual.
    pub fn number<T: Copy + PartialEq + fmt::Display>(&mut self, key: &str, number: T, usual: T) {
        if number != usual {
            self.add(key, &number.to_string());
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
