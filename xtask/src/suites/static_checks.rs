//! Suites that run nothing of what they check: formatting, lints, dependencies, documentation.
use std::process::Command;

use anyhow::Result;

use super::cargo::{self, MODELS, cargo};
use super::tally::Outcome;
use super::tools;
use crate::paths;

/// Formatting, of the fuzz targets too, which are no part of the workspace.
pub fn fmt() -> Result<Outcome> {
    let mut outcome = cargo::check("fmt", &mut cargo(&["fmt", "--all", "--", "--check"]))?;
    if let Some(manifest) = cargo::manifest("fuzz") {
        let mut command = cargo(&["fmt", "--manifest-path"]);
        outcome.add(cargo::check("fmt-fuzz", command.arg(manifest).args(["--", "--check"]))?);
    }
    Ok(outcome)
}

/// Lints of all targets, of the models too, most of which exist only under their cfg.
pub fn clippy() -> Result<Outcome> {
    let words = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let mut outcome = cargo::check("clippy", &mut cargo(&words))?;
    if let Some(manifest) = cargo::manifest(MODELS) {
        let mut command = cargo(&["clippy", "--quiet", "--all-targets", "--manifest-path"]);
        command.arg(manifest).arg("--target-dir").arg(cargo::target_dir("loom"));
        command.args(["--", "-D", "warnings"]).env("RUSTFLAGS", cargo::rustflags_with("loom"));
        outcome.add(cargo::check("clippy-loom", &mut command)?);
    }
    Ok(outcome)
}

/// Dependencies against `deny.toml`.
pub fn deny() -> Result<Outcome> {
    let program = match tools::ensure("cargo-deny") {
        Ok(program) => program,
        Err(error) => return Ok(Outcome::skipped(1, format!("{error:#}"))),
    };
    let mut command = Command::new(program);
    command.args(["check", "bans", "licenses", "sources"]).current_dir(paths::workspace());
    cargo::check("deny", &mut command)
}

/// Documentation: links that lead nowhere are errors. Not of the models, which exist only under their cfgs, each
/// under another one.
pub fn doc() -> Result<Outcome> {
    let mut command =
        cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    if cargo::manifest(MODELS).is_some() {
        command.args(["--exclude", MODELS]);
    }
    cargo::check("doc", command.env("RUSTDOCFLAGS", "-D warnings"))
}
