//! `cargo xtask test`: every check of the project, as suites that run one after the other.
//!
//! ```text
//! suite ── runs ──▶ Outcome { tally, skips, log } ── one line ──▶ … ── skips with reasons, summary line
//! ```
//! The last line, `N passed, N failed, N skipped`, is for programs to read; its form stays as it is.
pub mod cargo;
mod fuzz;
mod libtest;
mod linux;
pub mod log;
mod models;
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

type Run = fn() -> Result<Outcome>;

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
    Suite { name: "fmt", about: "formatting", run: static_checks::fmt },
    Suite { name: "clippy", about: "lints, warnings as errors", run: static_checks::clippy },
    Suite {
        name: "deny",
        about: "dependencies: bans, licenses, sources",
        run: static_checks::deny,
    },
    Suite { name: "doc", about: "documentation, warnings as errors", run: static_checks::doc },
    Suite { name: "unit", about: "unit, property and documentation tests", run: tests::unit },
    Suite {
        name: "kvm",
        about: "tests on this machine's /dev/kvm: files tests/kvm_*.rs",
        run: tests::kvm,
    },
    Suite { name: "tap", about: "tests on real taps: files tests/tap_*.rs", run: tests::tap },
    Suite { name: "loom", about: "models, every interleaving", run: models::loom },
    Suite { name: "shuttle", about: "models, random schedules", run: models::shuttle },
    Suite {
        name: "linux",
        about: "unmodified Linux guests, in the nested host if need be",
        run: linux::linux,
    },
    Suite { name: "fuzz", about: "each parser, for a bounded number of runs", run: fuzz::fuzz },
];

/// Runs the suites named in `only` (all if it is empty); the result says whether nothing failed.
pub fn run(only: &[String]) -> Result<bool> {
    for name in only {
        if !SUITES.iter().any(|suite| suite.name == name) {
            let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
            bail!("there is no suite {name:?}; there are {}", names.join(", "));
        }
    }
    let mut total = Tally::default();
    let mut skips = Vec::new();
    for suite in
        SUITES.iter().filter(|suite| only.is_empty() || only.iter().any(|name| name == suite.name))
    {
        if std::io::stderr().is_terminal() {
            eprintln!("xtask: {} ({})", suite.name, suite.about);
        }
        let started = Instant::now();
        // A suite that can't run is a suite that failed.
        let outcome = (suite.run)().unwrap_or_else(|error| Outcome::broken(format!("{error:#}\n")));
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
        }
        std::io::stdout().flush()?;
        total += outcome.tally;
        skips.extend(outcome.skips.into_iter().map(|skip| (suite.name, skip)));
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
}
