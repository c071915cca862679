//! Suites of Rust tests.
//!
//! Tests that need `/dev/kvm` are integration tests in files `kvm_*.rs`, a suite of their own. A unit test that needs it has a
//! name that starts with `kvm_`. Without a usable `/dev/kvm` both are left out and counted.
use anyhow::Result;

use super::cargo::{MODELS, Workspace, cargo};
use super::tally::Outcome;
use super::{libtest, log};
use crate::kvm::{self, Kvm};

const PREFIX: &str = "kvm_";

/// Everything that needs no KVM: unit, property, integration and documentation tests.
pub fn unit() -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let mut command =
        cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--examples"]);
    if workspace.has(MODELS) {
        command.args(["--exclude", MODELS]);
    }
    for name in workspace.integration_tests.iter().filter(|name| !name.starts_with(PREFIX)) {
        command.args(["--test", name]);
    }
    let mut reason = String::new();
    if let Kvm::Unusable(why) = kvm::detect() {
        command.args(["--", "--skip", PREFIX]);
        reason = why;
    }
    let mut outcome = libtest::outcome(log::run("unit", &mut command)?, &reason);
    let mut documentation = cargo(&["test", "--workspace", "--no-fail-fast", "--doc"]);
    if workspace.has(MODELS) {
        documentation.args(["--exclude", MODELS]);
    }
    outcome.add(libtest::outcome(log::run("unit-doc", &mut documentation)?, ""));
    Ok(outcome)
}

/// Tests on this machine's KVM.
pub fn kvm() -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let names: Vec<_> =
        workspace.integration_tests.iter().filter(|name| name.starts_with(PREFIX)).collect();
    if names.is_empty() {
        return Ok(Outcome::absent());
    }
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    for name in names {
        command.args(["--test", name]);
    }
    let Kvm::Unusable(reason) = kvm::detect() else {
        return Ok(libtest::outcome(log::run("kvm", &mut command)?, ""));
    };
    let ran = log::run("kvm", command.args(["--", "--list"]))?;
    if ran.success {
        Ok(Outcome::skipped(libtest::listed(&ran.text), reason))
    } else {
        Ok(libtest::outcome(ran, ""))
    }
}
