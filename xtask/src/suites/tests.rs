//! Suites of Rust tests.
//!
//! Tests that need `/dev/kvm` are integration tests in files `kvm_*.rs`, a suite of their own. A unit test that needs it has a
//! name that starts with `kvm_`. Without a usable `/dev/kvm` both are left out and counted. So are those on real taps, files
//! `tap_*.rs`, where none can be made, and those that need both, files `kvm_tap_*.rs`. Unit tests whose names start with `iasl_` need ACPI's compiler, which comes from Debian's package if it has to.
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::cargo::{MODELS, Workspace, cargo};
use super::tally::Outcome;
use super::{libtest, log};
use crate::kvm::{self, Kvm};
use crate::packages;
use crate::taps;

const PREFIX: &str = "kvm_";
const TAP_PREFIX: &str = "tap_";
const BOTH_PREFIX: &str = "kvm_tap_";
const IASL_PREFIX: &str = "iasl_";

/// Everything that needs no KVM and no taps: unit, property, integration and documentation tests.
pub fn unit() -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let mut command =
        cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--examples"]);
    if workspace.has(MODELS) {
        command.args(["--exclude", MODELS]);
    }
    let special = |name: &str| name.starts_with(PREFIX) || name.starts_with(TAP_PREFIX);
    for name in workspace.integration_tests.iter().filter(|name| !special(name)) {
        command.args(["--test", name]);
    }
    let mut reasons = Vec::new();
    command.arg("--");
    if let Kvm::Unusable(why) = kvm::detect() {
        command.args(["--skip", PREFIX]);
        reasons.push(why);
    }
    match packages::iasl() {
        Ok(None) => {}
        Ok(Some(programs)) => add_to_path(&mut command, &programs)?,
        Err(why) => {
            command.args(["--skip", IASL_PREFIX]);
            reasons.push(format!("{why:#}"));
        }
    }
    let reason = reasons.join("; ");
    let mut outcome = libtest::outcome(log::run("unit", &mut command)?, &reason);
    let mut documentation = cargo(&["test", "--workspace", "--no-fail-fast", "--doc"]);
    if workspace.has(MODELS) {
        documentation.args(["--exclude", MODELS]);
    }
    outcome.add(libtest::outcome(log::run("unit-doc", &mut documentation)?, ""));
    Ok(outcome)
}

/// Has the command find these programs, too.
fn add_to_path(command: &mut Command, programs: &Path) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all)?);
    Ok(())
}

/// Tests on this machine's KVM.
pub fn kvm() -> Result<Outcome> {
    let is_meant = |name: &str| name.starts_with(PREFIX) && !name.starts_with(BOTH_PREFIX);
    integration("kvm", is_meant, missing_kvm())
}

/// Tests on real taps, those of VMs on them, too.
pub fn tap() -> Result<Outcome> {
    let missing = taps::missing();
    let mut outcome = integration("tap", |name| name.starts_with(TAP_PREFIX), missing.clone())?;
    let missing = missing.or_else(missing_kvm);
    outcome.add(integration("tap-kvm", |name| name.starts_with(BOTH_PREFIX), missing)?);
    Ok(outcome)
}

/// Why no VM can run here; `None` if one can.
fn missing_kvm() -> Option<String> {
    match kvm::detect() {
        Kvm::Unusable(why) => Some(why),
        Kvm::Hardware | Kvm::Software => None,
    }
}

/// The integration tests with such names, or how many they are if something is missing for them.
fn integration(
    suite: &str,
    is_meant: impl Fn(&str) -> bool,
    missing: Option<String>,
) -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let names: Vec<_> = workspace.integration_tests.iter().filter(|name| is_meant(name)).collect();
    if names.is_empty() {
        return Ok(Outcome::absent());
    }
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    for name in names {
        command.args(["--test", name]);
    }
    let Some(reason) = missing else {
        return Ok(libtest::outcome(log::run(suite, &mut command)?, ""));
    };
    let ran = log::run(suite, command.args(["--", "--list"]))?;
    if ran.success {
        Ok(Outcome::skipped(libtest::listed(&ran.text), reason))
    } else {
        Ok(libtest::outcome(ran, ""))
    }
}
