//! The committed list of survivors: `vcpu-state/mutants.json`.
//!
//! An entry names a file and a change as cargo-mutants does, but no line, which every edit moves; `count`
//! says how many mutants of that name survive where there are several.
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::outcome::Mutant;
use crate::paths;

/// Mutants that nothing catches, and why.
pub struct List {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    file: String,
    mutation: String,
    count: usize,
    reason: String,
}

impl Entry {
    fn is_of(&self, mutant: &Mutant) -> bool {
        mutant.key() == (&self.file, &self.mutation)
    }

    fn among(&self, mutants: &[Mutant]) -> usize {
        mutants.iter().filter(|mutant| self.is_of(mutant)).count()
    }
}

fn path() -> PathBuf {
    paths::workspace().join("vcpu-state/mutants.json")
}

impl List {
    /// Reads it.
    pub fn load() -> Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot make sense of {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text)?;
        let mut entries = Vec::new();
        for (number, entry) in json.as_array().context("it is no list")?.iter().enumerate() {
            let field = |name: &str| {
                let text = entry[name].as_str().filter(|text| !text.is_empty());
                text.map(str::to_owned).with_context(|| format!("entry {number} has no `{name}`"))
            };
            let count = match &entry["count"] {
                Value::Null => Some(1),
                count => count.as_u64().filter(|count| *count > 0),
            };
            let count = count.with_context(|| format!("entry {number} has a wrong `count`"))?;
            entries.push(Entry {
                file: field("file")?,
                mutation: field("mutation")?,
                count: usize::try_from(count)?,
                reason: field("reason")?,
            });
        }
        Ok(Self { entries })
    }

    /// Those that are listed, and the others.
    pub fn split(&self, mutants: Vec<Mutant>) -> (Vec<Mutant>, Vec<Mutant>) {
        mutants.into_iter().partition(|mutant| self.entries.iter().any(|entry| entry.is_of(mutant)))
    }

    /// One line for each survivor, with its reason.
    pub fn summary(&self, survivors: &[Mutant]) -> String {
        let line = |mutant: &Mutant| {
            let entry = self.entries.iter().find(|entry| entry.is_of(mutant));
            let reason = entry.map_or("NOT LISTED", |entry| &entry.reason);
            format!("\n  {}\n      {reason}", mutant.name)
        };
        let lines: String = survivors.iter().map(line).collect();
        format!("{} survivors{lines}", survivors.len())
    }

    /// Where the list and what was seen differ. With `some`, not all mutants were tested.
    pub fn complaints(&self, survivors: &[Mutant], tested: &[Mutant], some: bool) -> Vec<String> {
        let mut complaints: Vec<_> = survivors
            .iter()
            .filter(|mutant| !self.entries.iter().any(|entry| entry.is_of(mutant)))
            .map(|mutant| format!("survived, not listed: {}", mutant.name))
            .collect();
        for entry in &self.entries {
            let (lived, tried) = (entry.among(survivors), entry.among(tested));
            let Entry { file, mutation, count, .. } = entry;
            if tried == 0 && !some {
                complaints.push(format!("listed, but there is no such mutant: {file}: {mutation}"));
            } else if lived > *count
                || (lived < *count && lived < tried)
                || (lived < *count && !some)
            {
                complaints.push(format!(
                    "listed with {count} survivors, but {lived} of {tried} survived: {file}: {mutation}"
                ));
            }
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(names: &[&str]) -> Vec<Mutant> {
        names.iter().map(|name| Mutant { name: (*name).to_owned() }).collect()
    }

    fn list() -> List {
        List::parse(r#"[{"file": "a.rs", "mutation": "x in f", "count": 2, "reason": "equal"}]"#)
            .unwrap()
    }

    #[test]
    fn list_and_survivors_must_agree() {
        let two = mutants(&["a.rs:1:1: x in f", "a.rs:2:1: x in f"]);
        let complaints =
            |survivors: &[Mutant], tested: &[Mutant]| list().complaints(survivors, tested, false);
        assert!(complaints(&two, &two).is_empty());
        // One is caught now; none is there any more; one too many survives.
        assert_eq!(complaints(&two[..1], &two).len(), 1);
        assert_eq!(complaints(&[], &[]).len(), 1);
        let more = mutants(&["a.rs:1:1: x in f", "a.rs:2:1: x in f", "a.rs:3:1: x in f"]);
        assert_eq!(complaints(&more, &more).len(), 1);
        let other = mutants(&["a.rs:1:1: x in f", "a.rs:2:1: x in f", "a.rs:3:1: y in f"]);
        assert_eq!(complaints(&other, &other), ["survived, not listed: a.rs:3:1: y in f"]);
    }

    #[test]
    fn of_some_mutants_only_those_are_expected() {
        assert!(list().complaints(&[], &[], true).is_empty());
        let one = mutants(&["a.rs:1:1: x in f"]);
        assert!(list().complaints(&one, &one, true).is_empty());
        assert_eq!(list().complaints(&[], &one, true).len(), 1);
    }

    #[test]
    fn every_entry_has_a_reason() {
        assert!(List::parse(r#"[{"file": "a.rs", "mutation": "x", "reason": ""}]"#).is_err());
        assert!(List::parse(r#"[{"file": "a.rs", "reason": "r"}]"#).is_err());
        assert!(List::parse("{}").is_err());
        assert!(List::load().is_ok());
    }
}
