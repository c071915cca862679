//! `cargo xtask mutants-lifecycle`: whether the tests notice when the lifecycle's code is changed.
//!
//! ```text
//!   every mutant ──rules──▶ survivors ──threads──▶ survivors ──loom──▶ survivors = vcpu-state/mutants.json?
//! ```
//! cargo-mutants makes the mutants and runs the tests, in a copy of the sources. Each layer gets only
//! what the quicker ones before it let live. What survives all of them has to be in the committed list,
//! with a reason, and what is in the list has to survive: the command fails otherwise. A listed mutant that survives
//! the first layer is excused from the slower ones, of which the last takes minutes for each, unless that is asked for.
mod layer;
mod list;
mod outcome;
mod table;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::progress::step;
use crate::suites::{log, tools};
use layer::LAYERS;
use list::List;
use outcome::{Mutant, Verdict};
use table::{Row, Table};

const VERSION: &str = "27.1.0";

/// What to do.
pub struct Options {
    /// Builds and tests at a time.
    pub jobs: usize,
    /// Only mutants whose names match this regular expression.
    pub only: Option<String>,
    /// Only one part of them: `K/N`, with K from 0.
    pub shard: Option<String>,
    /// Puts listed mutants through the slow layers, too.
    pub all: bool,
}

impl Options {
    /// Not all mutants are tested.
    fn is_partial(&self) -> bool {
        self.only.is_some() || self.shard.is_some()
    }
}

/// Tests every mutant; the result says whether the survivors are those in the list.
pub fn run(options: &Options) -> Result<bool> {
    let tool = tools::ensure_version("cargo-mutants", VERSION)?;
    let list = List::load()?;
    let mut table = Table::default();
    let mut survivors: Option<Vec<Mutant>> = None;
    let mut excused = Vec::new();
    let mut tested = Vec::new();
    for layer in &LAYERS {
        if layer.excuses_listed && !options.all {
            let (listed, others) = list.split(survivors.unwrap_or_default());
            excused.extend(listed);
            survivors = Some(others);
        }
        if survivors.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        step(format_args!("{}: {}", layer.name, layer.about));
        let started = Instant::now();
        let mut command = layer.command(&tool, options, survivors.as_deref())?;
        let ran = log::run(&format!("mutants-{}", layer.name), &mut command)?;
        // 2 and 3: some were missed, some ran out of time. Everything else is no result.
        if !matches!(ran.code, Some(0 | 2 | 3)) {
            let end = crate::progress::tail(&ran.text, 15);
            bail!(
                "cargo-mutants failed in {}:\n{end}    all of it: {}",
                layer.name,
                ran.file.display()
            );
        }
        let outcomes = outcome::read(&layer.results())?;
        table.rows.push(Row::new(layer.name, &outcomes, started.elapsed()));
        if tested.is_empty() {
            tested = outcomes.iter().map(|(mutant, _)| mutant.clone()).collect();
        }
        let missed = outcomes.into_iter().filter(|(_, verdict)| *verdict == Verdict::Survived);
        survivors = Some(missed.map(|(mutant, _)| mutant).collect());
    }
    let mut survivors = survivors.unwrap_or_default();
    survivors.extend(excused);
    let complaints = list.complaints(&survivors, &tested, options.is_partial());
    print!("{table}");
    println!("{}", list.summary(&survivors));
    for complaint in &complaints {
        println!("{complaint}");
    }
    Ok(complaints.is_empty())
}
