//! What cargo-mutants says came of each mutant: its `outcomes.json`.
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One change of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// `FILE:LINE:COLUMN: WHAT`, as cargo-mutants calls it.
    pub name: String,
}

impl Mutant {
    /// File and change without the place in the file, which moves with every edit.
    pub fn key(&self) -> (&str, &str) {
        let (place, change) = self.name.split_once(": ").unwrap_or(("", &self.name));
        (place.split(':').next().unwrap_or(place), change)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A test failed.
    Caught,
    /// The tests did not end: a hang, which counts as caught.
    TimedOut,
    /// Every test passed.
    Survived,
    /// It does not compile.
    Unviable,
}

/// Reads them all.
///
/// # Errors
/// The file is not there, or not what cargo-mutants writes.
pub fn read(file: &Path) -> Result<Vec<(Mutant, Verdict)>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("cannot make sense of {}", file.display()))
}

fn parse(text: &str) -> Result<Vec<(Mutant, Verdict)>> {
    let json: Value = serde_json::from_str(text)?;
    let mut all = Vec::new();
    for outcome in json["outcomes"].as_array().context("no outcomes")? {
        let Some(mutant) = outcome["scenario"].get("Mutant") else { continue };
        let name = mutant["name"].as_str().context("a mutant without a name")?.to_owned();
        let verdict = match outcome["summary"].as_str() {
            Some("CaughtMutant") => Verdict::Caught,
            Some("Timeout") => Verdict::TimedOut,
            Some("MissedMutant") => Verdict::Survived,
            Some("Unviable") => Verdict::Unviable,
            other => bail!("{name} ended with {other:?}"),
        };
        all.push((Mutant { name }, verdict));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_and_the_baseline_left_out() {
        let json = r#"{"outcomes": [
            {"scenario": "Baseline", "summary": "Success"},
            {"scenario": {"Mutant": {"name": "a/b.rs:1:2: replace f with ()"}}, "summary": "Timeout"}]}"#;
        let outcomes = parse(json).unwrap();
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].0.key(), ("a/b.rs", "replace f with ()"));
        assert_eq!(outcomes[0].1, Verdict::TimedOut);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let json =
            r#"{"outcomes": [{"scenario": {"Mutant": {"name": "m"}}, "summary": "Failure"}]}"#;
        assert!(parse(json).unwrap_err().to_string().contains("Failure"));
        assert!(parse("{}").is_err() && parse("[").is_err());
    }
}
