//! The committed list of mutations: `loom-tests/mutants.json`.
//!
//! An entry is a change of production's code, as a text that stands in a file exactly once and what replaces it, and the model
//! that has to find it.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::paths;

/// A change of production's code.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The model that has to fail.
    pub model: String,
    /// The file, from the root of the workspace.
    pub file: PathBuf,
    /// The bug that it puts in.
    pub what: String,
    from: String,
    to: String,
}

impl Mutation {
    /// Whether it is one of `vmm`.
    pub fn is_of_vmm(&self) -> bool {
        self.file.starts_with("vmm")
    }

    /// The file with the change, below this root.
    pub fn applied(&self, root: &Path) -> Result<String> {
        let path = root.join(&self.file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let found = text.matches(&self.from).count();
        ensure!(found == 1, "{}: `{}` stands {found} times in it", self.file.display(), self.from);
        Ok(text.replacen(&self.from, &self.to, 1))
    }
}

/// Reads it.
pub fn load() -> Result<Vec<Mutation>> {
    let path = paths::workspace().join("loom-tests/mutants.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("cannot make sense of {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Mutation>> {
    let json: Value = serde_json::from_str(text)?;
    let entry = |(number, entry): (usize, &Value)| {
        let field = |name: &str| {
            let text = entry[name].as_str().map(str::to_owned);
            text.with_context(|| format!("entry {number} has no `{name}`"))
        };
        let mutation = Mutation {
            model: field("model")?,
            file: field("file")?.into(),
            what: field("what")?,
            from: field("from")?,
            to: field("to")?,
        };
        ensure!(mutation.from != mutation.to, "entry {number} changes nothing");
        Ok(mutation)
    };
    json.as_array().context("it is no list")?.iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The races, a line for each; those with a device say so.
    const CATALOGUE: &str = include_str!("../../../loom-tests/tests/catalogue.txt");

    #[test]
    fn every_model_over_devices_has_a_mutation() {
        let list = load().unwrap();
        let models: Vec<_> =
            CATALOGUE.lines().filter_map(|line| line.strip_suffix(" device")).collect();
        assert!(!models.is_empty());
        for model in models {
            assert!(list.iter().any(|mutation| mutation.model == model), "{model} has none");
        }
    }

    #[test]
    fn every_mutation_fits_the_code_as_it_is() {
        for mutation in load().unwrap() {
            let applied = mutation.applied(paths::workspace());
            assert!(applied.is_ok(), "{}: {applied:?}", mutation.what);
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(parse("{}").is_err() && parse("[{}]").is_err());
        let same = r#"[{"model": "m", "file": "f", "what": "w", "from": "x", "to": "x"}]"#;
        assert!(parse(same).is_err());
    }
}
