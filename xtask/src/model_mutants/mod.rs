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

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::progress::step;
use crate::suites::log;
use copy::{Copy, Models};
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
    /// The code does not build with it.
    Unbuilt,
}

/// Some of the mutations.
pub struct Options {
    /// Only those whose model or file has this in its name.
    pub only: Option<String>,
    /// Only every N-th, from the K-th on, which counts from 0.
    pub shard: Option<(usize, usize)>,
}

/// Tries the mutations; whether all were found.
pub fn run(options: &Options) -> Result<bool> {
    let only = options.only.as_deref();
    let wanted = |mutation: &Mutation| {
        let file = mutation.file.to_string_lossy();
        only.is_none_or(|only| mutation.model.contains(only) || file.contains(only))
    };
    let (first, step_by) = options.shard.unwrap_or((0, 1));
    let list = list::load()?.into_iter().filter(wanted).skip(first).step_by(step_by);
    let list: Vec<_> = list.collect();
    ensure!(!list.is_empty(), "no mutation is of such a model or file");
    let copy = Copy::make()?;
    let mut missed = 0;
    for (number, mutation) in (1..).zip(&list) {
        let Mutation { model, what, .. } = mutation;
        step(format_args!("{number} of {}: {model}: {what}", list.len()));
        let begun = Instant::now();
        let found = copy.with(mutation, || {
            let models = if mutation.is_of_vmm() { Models::All } else { Models::WithoutVmm };
            if build(&copy, models)? { explore(&copy, model) } else { Ok(Found::Unbuilt) }
        })?;
        let found = match found {
            Found::Yes(words) => words.chars().take(SHOWN).collect(),
            Found::Hang => "it does not end".to_owned(),
            Found::No => {
                missed += 1;
                "NOT FOUND".to_owned()
            }
            Found::Unbuilt => {
                missed += 1;
                "DOES NOT BUILD".to_owned()
            }
        };
        let seconds = begun.elapsed().as_secs();
        println!("{model:24} {seconds:4} s  {what}\n{:32}{found}", "");
    }
    println!("{} mutations, {missed} not found", list.len());
    Ok(missed == 0)
}

/// Whether the models build.
fn build(copy: &Copy, models: Models) -> Result<bool> {
    Ok(log::run("mutants-devices-build", &mut copy.build(models))?.success)
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
