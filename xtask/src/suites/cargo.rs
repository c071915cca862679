//! Cargo, as the suites use it.
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::log;
use super::tally::{Outcome, Tally};
use crate::{build, paths, tool};

/// `cargo` in the root of the workspace.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(build::cargo());
    command.args(words).current_dir(paths::workspace());
    command
}

/// Runs a command that either passes or fails, as one test.
pub fn check(name: &str, command: &mut Command) -> Result<Outcome> {
    let ran = log::run(name, command)?;
    let tally =
        Tally { passed: u64::from(ran.success), failed: u64::from(!ran.success), skipped: 0 };
    Ok(Outcome { tally, log: ran.text, log_file: Some(ran.file), ..Outcome::default() })
}

/// The flags of the compiler with `--cfg NAME` added to those that the environment has.
pub fn rustflags_with(cfg: &str) -> OsString {
    let mut flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(format!(" --cfg {cfg}"));
    flags
}

/// A crate's manifest, if the crate is there.
pub fn manifest(name: &str) -> Option<std::path::PathBuf> {
    let manifest = paths::workspace().join(name).join("Cargo.toml");
    manifest.is_file().then_some(manifest)
}

/// Names of the workspace's packages, and of their integration tests.
pub struct Workspace {
    /// Packages.
    pub packages: Vec<String>,
    /// Files `tests/NAME.rs` of all packages but the models', without doubles.
    pub integration_tests: Vec<String>,
}

/// The crate that is only run under a model checker.
pub const MODELS: &str = "loom-tests";

impl Workspace {
    /// Asks cargo.
    pub fn load() -> Result<Self> {
        let json = tool::output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
        Self::parse(&json).context("cannot make sense of `cargo metadata`")
    }

    fn parse(json: &str) -> Result<Self> {
        let metadata: serde_json::Value = serde_json::from_str(json)?;
        let mut workspace = Self { packages: Vec::new(), integration_tests: Vec::new() };
        for package in metadata["packages"].as_array().context("no packages")? {
            let name = package["name"].as_str().context("a package without a name")?;
            workspace.packages.push(name.to_owned());
            if name == MODELS {
                continue;
            }
            for target in package["targets"].as_array().context("a package without targets")? {
                let is_test = target["kind"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
                if is_test {
                    let name = target["name"].as_str().context("a target without a name")?;
                    workspace.integration_tests.push(name.to_owned());
                }
            }
        }
        workspace.integration_tests.sort();
        workspace.integration_tests.dedup();
        Ok(workspace)
    }

    /// Whether `package` is a member.
    pub fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|name| name == package)
    }
}

/// Where the artefacts of builds with `cfg` go: their flags would throw out all others'.
pub fn target_dir(cfg: &str) -> std::path::PathBuf {
    paths::target().join(Path::new(cfg))
}

#[cfg(test)]
mod tests {
    use super::Workspace;

    #[test]
    fn integration_tests_are_listed_once() {
        let json = r#"{"packages": [
            {"name": "a", "targets": [{"kind": ["lib"], "name": "a"}, {"kind": ["test"], "name": "kvm_x"}]},
            {"name": "loom-tests", "targets": [{"kind": ["test"], "name": "word"}]},
            {"name": "b", "targets": [{"kind": ["test"], "name": "kvm_x"}, {"kind": ["test"], "name": "b"}]}]}"#;
        let workspace = Workspace::parse(json).unwrap();
        assert_eq!(workspace.integration_tests, ["b", "kvm_x"]);
        assert!(workspace.has("loom-tests") && !workspace.has("c"));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(Workspace::parse("{}").is_err());
        assert!(Workspace::parse("[").is_err());
    }
}
