//! The models in `loom-tests/`, under the model checkers that they know.
use anyhow::{Context, Result};

use super::cargo::{self, MODELS, cargo};
use super::models_table::tables;
use super::tally::Outcome;
use super::{libtest, log};

/// Every interleaving of a few threads.
pub fn loom() -> Result<Outcome> {
    models("loom")
}

/// Random schedules of many threads.
pub fn shuttle() -> Result<Outcome> {
    models("shuttle")
}

/// Runs the models under `checker`, if they are there and depend on it.
fn models(checker: &str) -> Result<Outcome> {
    let Some(manifest) = cargo::manifest(MODELS) else {
        return Ok(Outcome::absent());
    };
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    if !names_dependency(&text, checker) {
        return Ok(Outcome::absent());
    }
    let mut command = cargo(&["test", "--release", "--no-fail-fast", "--manifest-path"]);
    command.arg(manifest).arg("--target-dir").arg(cargo::target_dir(checker));
    command.env("RUSTFLAGS", cargo::rustflags_with(checker));
    let ran = log::run(checker, &mut command)?;
    let (right, wrong) = halves(&ran.text);
    let shown = tables(&ran.text);
    let mut outcome = Outcome { shown, ..libtest::outcome(ran, "") };
    outcome.tally.passed += right;
    // A wrong half has failed its program already, which counts as one.
    outcome.tally.failed = outcome.tally.failed.max(wrong);
    Ok(outcome)
}

/// Right and wrong halves in the lines `N halves, M wrong` of the models' own runner, which is no libtest.
fn halves(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in text.lines() {
        let numbers = line.strip_suffix(" wrong").and_then(|line| line.split_once(" halves, "));
        if let Some((all, wrong)) = numbers
            && let (Ok(all), Ok(wrong)) = (all.parse::<u64>(), wrong.parse::<u64>())
        {
            sum = (sum.0 + all.saturating_sub(wrong), sum.1 + wrong);
        }
    }
    sum
}

/// Whether a line of the manifest is `NAME = …` or `NAME.workspace = …`.
fn names_dependency(manifest: &str, name: &str) -> bool {
    manifest
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .any(|rest| rest.starts_with([' ', '.', '=']))
}

#[cfg(test)]
mod tests {
    use super::{halves, names_dependency};

    #[test]
    fn halves_are_counted() {
        assert_eq!(halves("all  559659\n116 halves, 2 wrong\nwrong halves, 1 wrong\n"), (114, 2));
        assert_eq!(halves("test result: ok."), (0, 0));
    }

    #[test]
    fn dependencies_are_found_by_their_whole_name() {
        assert!(names_dependency("[dependencies]\nloom.workspace = true\n", "loom"));
        assert!(names_dependency("shuttle = \"0.9\"\n", "shuttle"));
        assert!(!names_dependency("name = \"loom-tests\"\nloom-x = \"1\"\n", "loom"));
    }
}
