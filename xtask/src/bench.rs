//! The benchmarks: built as they are released, then in this process's place.
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::step;
use crate::{build, paths};

/// Builds the benchmark and the program that it measures, and becomes the benchmark: signals, the
/// terminal and the exit status are its own.
pub fn run(arguments: &[String]) -> Result<Infallible> {
    step("building stillpoint and the benchmark");
    let mut cargo = Command::new(build::cargo());
    cargo
        .args(["build", "--quiet", "--release", "-p", "stillpoint", "-p", "stillpoint-bench"])
        .current_dir(paths::workspace());
    if !cargo.status().context("cannot start cargo")?.success() {
        bail!("the benchmark does not build");
    }
    let program = paths::target().join("release/stillpoint-bench");
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
