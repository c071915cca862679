//! `cargo xtask mutants-devices`: whether the models over devices notice bugs that are put back into production's code.
//!
//! ```text
//!   loom-tests/mutants.json ──▶ a copy of the sources ──one mutation──▶ build ──▶ explore its model ──▶ found? ──▶ undo, next
//! ```
//!
//! A model over production's types is of use only if it can fail for a bug of theirs. The list has one or more for every model
//! of a race with a device; the command fails unless each is found by its own model, by the half that is ours.
mod copy;
mod list;

use std::fmt::Write;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::progress::step;
use crate::suites::log;
use copy::Copy;
use list::Mutation;

/// After so many seconds an exploration is a hang: the longest takes one minute.
const HANG: u32 = 600;
/// The exit status of `timeout` for it.
const TIMED_OUT: i32 = 124;
/// How much of what a model says is shown.
const SHOWN: usize = 90;

/// What became of a mutation.
enum Found {
    /// The model failed, with these words.
    Yes(String),
    /// It did not come to an end.
    Hang,
    /// It found nothing.
    No,
}

/// Tries every mutation whose model or file has `only` in its name; whether all were found.
pub fn run(only: Option<&str>) -> Result<bool> {
    let wanted = |mutation: &Mutation| {
        let file = mutation.file.to_string_lossy();
        only.is_none_or(|only| mutation.model.contains(only) || file.contains(only))
    };
    let list: Vec<_> = list::load()?.into_iter().filter(wanted).collect();
    ensure!(!list.is_empty(), "no mutation is of such a model or file");
    let copy = Copy::make()?;
    step("building the models over the code as it is");
    build(&copy)?;
    let (mut table, mut missed) = (String::new(), 0);
    for (number, mutation) in (1..).zip(&list) {
        let Mutation { model, what, .. } = mutation;
        step(format_args!("{number} of {}: {model}: {what}", list.len()));
        let begun = Instant::now();
        let found = copy.with(mutation, || {
            build(&copy)?;
            explore(&copy, model)
        })?;
        let found = match found {
            Found::Yes(words) => words.chars().take(SHOWN).collect(),
            Found::Hang => "it does not end".to_owned(),
            Found::No => {
                missed += 1;
                "NOT FOUND".to_owned()
            }
        };
        let seconds = begun.elapsed().as_secs();
        // Writing to a string does not fail.
        let _ = writeln!(table, "{model:24} {seconds:4} s  {what}\n{:32}{found}", "");
    }
    print!("{table}");
    println!("{} mutations, {missed} not found", list.len());
    Ok(missed == 0)
}

fn build(copy: &Copy) -> Result<()> {
    let ran = log::run("mutants-devices-build", &mut copy.build())?;
    if !ran.success {
        let end = crate::progress::tail(&ran.text, 30);
        bail!("it does not build:\n{end}    all of it: {}", ran.file.display());
    }
    Ok(())
}

fn explore(copy: &Copy, model: &str) -> Result<Found> {
    let ran = log::run(&format!("mutants-devices-{model}"), &mut copy.explore(model, HANG))?;
    if ran.code == Some(TIMED_OUT) {
        return Ok(Found::Hang);
    }
    let found = complaint(&ran.text, model);
    ensure!(ran.success == found.is_none(), "{model} failed otherwise: {}", ran.file.display());
    Ok(found.map_or(Found::No, Found::Yes))
}

/// What ours is said to be wrong with, in a line of the models' own runner.
fn complaint(text: &str, model: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix("model ")?.strip_prefix(model)?.strip_prefix(" half=ours")?;
        Some(line.split_once("result=WRONG:")?.1.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn only_our_half_of_the_model_itself_counts() {
        let line = |model: &str, half: &str| {
            format!(
                "model {model} half={half} bound=1 executions=2 seconds=0.1 result=WRONG:deadlock\n"
            )
        };
        let of = |text: &str| complaint(text, "a-b");
        assert_eq!(of(&line("a-b", "ours")), Some("deadlock".to_owned()));
        assert_eq!(of(&line("a-b", "ours-newest")), Some("deadlock".to_owned()));
        assert_eq!(of(&line("a-b", "historic")), None);
        assert_eq!(of(&line("a-b-c", "ours")), None);
        assert_eq!(of("model a-b half=ours bound=1 result=none\n"), None);
    }
}
