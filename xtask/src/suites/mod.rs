//! `cargo xtask test`: every check of the project, as suites that run one after the other.
//!
//! ```text
//! suite ── runs ──▶ Outcome { tally, skips, log } ── one line ──▶ … ── failures, skips with reasons, summary line
//! ```
//! The last line, `N passed, N failed, N skipped`, is for programs to read; its form stays as it is.
pub mod cargo;
mod digest;
mod fuzz;
mod libtest;
mod linux;
pub mod log;
mod models;
mod models_table;
mod static_checks;
mod tally;
mod tap;
mod tests;
pub mod tools;

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::progress::tail;
pub use tally::{Outcome, Tally};

/// How much of a failing suite's output is shown; the rest is in its log.
const SHOWN_LINES: usize = 60;

/// How a suite runs.
#[derive(Clone, Copy)]
enum Run {
    /// As a whole.
    Whole(fn() -> Result<Outcome>),
    /// As a whole, or those of its tests whose names contain a text.
    Filtered(fn(Option<&str>) -> Result<Outcome>),
}

/// A part of the tests.
pub struct Suite {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    run: Run,
}

/// All of them, the quickest answers first.
pub const SUITES: [Suite; 11] = [
    Suite { name: "fmt", about: "formatting", run: Run::Whole(static_checks::fmt) },
    Suite {
        name: "clippy",
        about: "lints, warnings as errors",
        run: Run::Whole(static_checks::clippy),
    },
    Suite {
        name: "deny",
        about: "dependencies: bans, licenses, sources",
        run: Run::Whole(static_checks::deny),
    },
    Suite {
        name: "doc",
        about: "documentation, warnings as errors",
        run: Run::Whole(static_checks::doc),
    },
    Suite {
        name: "unit",
        about: "unit, property and documentation tests",
        run: Run::Whole(tests::unit),
    },
    Suite {
        name: "kvm",
        about: "tests on this machine's /dev/kvm: files tests/kvm_*.rs",
        run: Run::Whole(tests::kvm),
    },
    Suite {
        name: "tap",
        about: "tests on real taps: files tests/tap_*.rs, tests/kvm_tap_*.rs",
        run: Run::Whole(tests::tap),
    },
    Suite { name: "loom", about: "models, every interleaving", run: Run::Whole(models::loom) },
    Suite { name: "shuttle", about: "models, random schedules", run: Run::Whole(models::shuttle) },
    Suite {
        name: "linux",
        about: "unmodified Linux guests, in the nested host if need be",
        run: Run::Filtered(linux::linux),
    },
    Suite {
        name: "fuzz",
        about: "each parser, for a bounded number of runs",
        run: Run::Whole(fuzz::fuzz),
    },
];

/// What of a suite is run.
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    /// All of it.
    Whole,
    /// Tests whose names contain this.
    Part(String),
}

impl Chosen {
    /// What the names of the tests must contain, if not all are run.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Part(text) => Some(text),
        }
    }
}

impl Suite {
    /// How `only` has it run, if at all. An empty `only` means all suites, whole.
    fn chosen(&self, only: &[String]) -> Option<Chosen> {
        if only.is_empty() {
            return Some(Chosen::Whole);
        }
        let mut named = only.iter().map(|name| parts(name));
        let (_, text) = named.find(|(name, _)| *name == self.name)?;
        Some(text.map_or(Chosen::Whole, |text| Chosen::Part(text.to_owned())))
    }
}

/// `SUITE` or `SUITE:TEXT`.
fn parts(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(suite, text)| (suite, Some(text)))
}

/// Whether `only` can be done.
fn check(only: &[String]) -> Result<()> {
    for (name, text) in only.iter().map(|name| parts(name)) {
        let Some(suite) = SUITES.iter().find(|suite| suite.name == name) else {
            let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
            bail!("there is no suite {name:?}; there are {}", names.join(", "));
        };
        if text.is_some() && matches!(suite.run, Run::Whole(_)) {
            bail!("the suite {name} runs as a whole only");
        }
    }
    Ok(())
}

/// Runs the suites named in `only` (all if it is empty); the result says whether nothing failed.
///
/// `SUITE:TEXT` stands for those tests of the suite whose names contain the text.
pub fn run(only: &[String]) -> Result<bool> {
    check(only)?;
    let mut total = Tally::default();
    let mut skips = Vec::new();
    let mut failures = Vec::new();
    for suite in &SUITES {
        let Some(chosen) = suite.chosen(only) else { continue };
        if std::io::stderr().is_terminal() {
            eprintln!("xtask: {} ({})", suite.name, suite.about);
        }
        let started = Instant::now();
        // A suite that can't run is a suite that failed.
        let result = match suite.run {
            Run::Whole(run) => run(),
            Run::Filtered(run) => run(chosen.text()),
        };
        let outcome = result.unwrap_or_else(|error| Outcome::broken(format!("{error:#}\n")));
        if outcome.is_absent() {
            continue;
        }
        println!("{}", line(suite.name, &outcome, started.elapsed().as_secs_f32()));
        print!("{}", outcome.shown);
        if outcome.tally.failed > 0 {
            print!("{}", tail(&outcome.log, SHOWN_LINES));
            if let Some(file) = &outcome.log_file {
                println!("    all of it: {}", file.display());
            }
            failures.push((suite.name, digest::digest(&outcome.log)));
        }
        std::io::stdout().flush()?;
        total += outcome.tally;
        skips.extend(outcome.skips.into_iter().map(|skip| (suite.name, skip)));
    }
    for (suite, digest) in &failures {
        println!("failed in {suite}:");
        for line in digest {
            println!("    {line}");
        }
    }
    for (suite, skip) in &skips {
        println!("skipped {} in {suite}: {}", skip.count, skip.reason);
    }
    println!("{total}");
    Ok(total.failed == 0)
}

fn line(name: &str, outcome: &Outcome, seconds: f32) -> String {
    let Tally { passed, failed, skipped } = outcome.tally;
    let verdict = match (failed, passed) {
        (1.., _) => "FAILED",
        (0, 1..) => "ok",
        (0, 0) => "skipped",
    };
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    format!("{name:8} {verdict:7} {passed} passed{failed}{skipped} ({seconds:.1} s)")
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn lines_are_short_and_say_what_matters() {
        let mut outcome = Outcome::default();
        outcome.tally.passed = 3;
        assert_eq!(line("fmt", &outcome, 1.25), "fmt      ok      3 passed (1.2 s)");
        outcome.tally.failed = 1;
        outcome.tally.skipped = 2;
        assert_eq!(
            line("kvm", &outcome, 0.0),
            "kvm      FAILED  3 passed, 1 failed, 2 skipped (0.0 s)"
        );
    }

    #[test]
    fn an_unknown_suite_is_an_error_that_names_all() {
        let error = run(&["unti".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("unti") && error.contains("unit"), "{error}");
    }

    #[test]
    fn a_suite_that_runs_as_a_whole_says_so_when_a_part_is_asked_for() {
        check(&["linux:disks".to_owned(), "fmt".to_owned()]).unwrap();
        let error = check(&["fmt:disks".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("fmt") && error.contains("whole"), "{error}");
    }

    #[test]
    fn a_part_of_a_suite_is_named_behind_a_colon() {
        let linux = SUITES.iter().find(|suite| suite.name == "linux").unwrap();
        assert_eq!(linux.chosen(&[]), Some(Chosen::Whole));
        assert_eq!(linux.chosen(&["fmt".to_owned()]), None);
        assert_eq!(linux.chosen(&["linux".to_owned()]), Some(Chosen::Whole));
        let part = Chosen::Part("disks".to_owned());
        assert_eq!(linux.chosen(&["linux:disks".to_owned()]), Some(part));
    }
}
