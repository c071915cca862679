//! The fuzz targets, each for a bounded number of runs: what they find here would be found at once.
use anyhow::{Context, Result};

use super::cargo;
use super::tally::Outcome;
use super::tools;
use crate::{paths, tool};

/// Inputs for each target, which take it a few seconds. It is a number and no time, so that a busy machine tests as much
/// as an idle one.
const RUNS: u32 = 200_000;
/// Fewer for targets that make many system calls, or do much for each input.
const FEWER: [(&str, u32); 9] = [
    ("wire_destination", 50_000),
    ("wire_source", 50_000),
    ("virtio_transport", 50_000),
    ("api_connection", 50_000),
    ("virtio_vsock", 50_000),
    ("virtio_block", 50_000),
    ("qcow2_open", 20_000),
    ("snapshot_reader", 50_000),
    ("saved_devices", 50_000),
];
/// An input that takes a minute, or makes the target hold a gigabyte, is a finding.
const LIMITS: [&str; 2] = ["-timeout=60", "-rss_limit_mb=1024"];

/// Builds all targets, then runs each.
pub fn fuzz() -> Result<Outcome> {
    if cargo::manifest("fuzz").is_none() {
        return Ok(Outcome::absent());
    }
    let program = match tools::ensure("cargo-fuzz") {
        Ok(program) => program,
        Err(error) => return Ok(Outcome::skipped(1, format!("{error:#}"))),
    };
    let fuzz = || {
        let mut command = std::process::Command::new(&program);
        command.arg("fuzz").current_dir(paths::workspace());
        command
    };
    let targets = tool::output(fuzz().arg("list"))?;
    let mut build = fuzz();
    let mut outcome = cargo::check("fuzz-build", build.args(["build", "--sanitizer", "none"]))?;
    if outcome.tally.failed > 0 {
        return Ok(outcome);
    }
    for target in targets.split_whitespace() {
        // What it learns stays out of the repository; it starts from the seeds in there.
        let learnt = paths::target().join("fuzz-corpus").join(target);
        std::fs::create_dir_all(&learnt)
            .with_context(|| format!("cannot make {}", learnt.display()))?;
        let seeds = paths::workspace().join("fuzz/corpus").join(target);
        let mut command = fuzz();
        command.args(["run", "--sanitizer", "none", target]).arg(learnt);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        let runs = FEWER.iter().find(|(name, _)| *name == target).map_or(RUNS, |(_, runs)| *runs);
        command.arg("--").arg(format!("-runs={runs}")).args(LIMITS);
        outcome.add(cargo::check(&format!("fuzz-{target}"), &mut command)?);
    }
    Ok(outcome)
}
