//! Explores models, each half in a process of its own, and says what was found.
//!
//! A model that fails takes its process with it (loom cannot unwind out of a deadlock), so that every
//! half is explored by a child: this program again, with `--half NAME HALF`. The child says on its
//! standard output how it ended; the parent checks that against what the model declares, prints one
//! machine-readable line for each half as it ends, and a table at the end:
//!
//! ```text
//! model lost-kick half=historic bound=none executions=5 seconds=0.01 result=found:deadlock
//! ```

mod child;
mod parent;
mod table;
mod verdict;

use std::process::ExitCode;

use crate::model::{Bound, Half, Model};

pub use verdict::{Ended, Verdict};

/// Every model: the basics, then the catalogue in its order, then the project's own entries.
pub fn models() -> impl Iterator<Item = &'static Model> {
    crate::basics::MODELS.iter().chain(crate::races::models()).chain(crate::races::own::MODELS)
}

/// The program. Arguments: names of models to run (those that contain one of them); none runs all.
/// `--bound` goes further (or less far) than the models declare.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--half", name, half, bound] => match (find(name, half), bound.parse()) {
            (Some((model, half)), Ok(bound)) => child::explore(model, half, bound),
            _ => usage(&format!("no model '{name}' with a half '{half}', or no bound '{bound}'")),
        },
        ["--list"] => {
            for model in models() {
                println!("{}", model.name);
            }
            ExitCode::SUCCESS
        }
        ["--bound", bound, ref names @ ..] => match bound.parse() {
            Ok(bound) => run(names, Some(bound)),
            Err(problem) => usage(problem),
        },
        ref names => run(names, None),
    }
}

fn run(names: &[&str], bound: Option<Bound>) -> ExitCode {
    match names.iter().find(|name| name.starts_with('-')) {
        Some(option) => usage(&format!("unknown option '{option}'")),
        None => parent::run(names, bound),
    }
}

fn find(name: &str, half: &str) -> Option<(&'static Model, Half)> {
    let half = Half::ALL.into_iter().find(|h| h.to_string() == half)?;
    let model = models().find(|model| model.name == name)?;
    model.half(half).map(|_| (model, half))
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("loom-tests: {problem}; usage: loom-tests [--list | [--bound N|none] NAME…]");
    ExitCode::from(2)
}
