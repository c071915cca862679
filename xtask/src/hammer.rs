//! The hammer of the KVM tests for as long as one likes, also under ThreadSanitizer.
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::kvm::{self, Kvm};
use crate::progress::step;
use crate::{build, paths, tool};

/// The target that a standard library is built for, too, when a sanitizer is to see into it.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The test that it is.
const TEST: &str = "programs_of_everything_at_once";
/// Everything is slower under the sanitizer; nothing that is decided depends on it.
const PATIENCE_UNDER_TSAN: &str = "120";

/// What to hammer with.
pub struct Options {
    /// How long, at least.
    pub minutes: u64,
    /// The first program's seed; the next one's is one more.
    pub seed: Option<u64>,
    /// How many programs, instead of how long.
    pub programs: Option<u64>,
    /// What it runs under.
    pub sanitizer: Sanitizer,
}

/// What the hammer runs under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sanitizer {
    /// Nothing.
    None,
    /// ThreadSanitizer: data races and bad orderings between threads are failures.
    Thread,
}

/// Builds the hammer and becomes it: signals, the terminal and the exit status are its own.
pub fn run(options: &Options) -> Result<Infallible> {
    if let Kvm::Unusable(reason) = kvm::detect() {
        bail!("the hammer needs KVM: {reason}");
    }
    let mut cargo = match options.sanitizer {
        Sanitizer::None => Command::new(build::cargo()),
        Sanitizer::Thread => under_tsan()?,
    };
    cargo.args(["test", "--quiet", "-p", "vmm", "--test", "kvm_hammer"]);
    if options.sanitizer == Sanitizer::Thread {
        cargo.args(["-Zbuild-std", "--target", TARGET]);
    }
    cargo.args(["--", "--exact", TEST, "--nocapture"]).current_dir(paths::workspace());
    cargo.env("STILLPOINT_HAMMER_SECONDS", options.minutes.saturating_mul(60).to_string());
    for (name, value) in
        [("STILLPOINT_HAMMER_SEED", options.seed), ("STILLPOINT_HAMMER_PROGRAMS", options.programs)]
    {
        match value {
            Some(value) => cargo.env(name, value.to_string()),
            None => cargo.env_remove(name),
        };
    }
    step("building the hammer");
    Err(cargo.exec()).context("cannot start cargo")
}

/// A nightly cargo whose builds are instrumented, the standard library included.
fn under_tsan() -> Result<Command> {
    let nightly = |words: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly"]).args(words);
        command
    };
    let sysroot = tool::output(&mut nightly(&["rustc", "--print", "sysroot"]))
        .context("ThreadSanitizer needs a nightly toolchain: rustup toolchain install nightly")?;
    let std = std::path::Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std");
    if !std.is_dir() {
        bail!(
            "ThreadSanitizer has to see into the standard library, whose source is missing: \
             rustup component add rust-src --toolchain nightly"
        );
    }
    let mut flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(" -Zsanitizer=thread");
    let mut tsan = std::env::var_os("TSAN_OPTIONS").unwrap_or_default();
    tsan.push(" halt_on_error=1:second_deadlock_stack=1");
    let mut cargo = nightly(&["cargo"]);
    // This program's own toolchain would win otherwise.
    cargo.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    cargo.env("RUSTFLAGS", flags).env("TSAN_OPTIONS", tsan);
    cargo.env("CARGO_TARGET_DIR", paths::target().join("tsan"));
    cargo.env("STILLPOINT_HAMMER_PATIENCE", OsString::from(PATIENCE_UNDER_TSAN));
    Ok(cargo)
}
