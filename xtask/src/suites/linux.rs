//! The suite of Linux guests: on this machine's KVM if that can run Linux, else in the nested host.
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tally::Outcome;
use super::{log, tap};
use crate::host::{self, Output, Streams};
use crate::image::guest::Guest;
use crate::kvm::{self, Kvm};
use crate::packages::{self, Packages};
use crate::{build, linux_tests, paths};

/// Where the logs of single tests go, below the target directory.
const LOGS: &str = "linux-tests";

/// Runs them.
pub fn linux() -> Result<Outcome> {
    let hardware = kvm::detect() == Kvm::Hardware;
    let packages = match Packages::fetch() {
        Ok(packages) => packages,
        Err(error) => return Ok(left_out(&error)),
    };
    if !hardware && let Err(error) = packages::ensure_qemu() {
        return Ok(left_out(&error));
    }
    if hardware { directly(&packages) } else { nested(&packages) }
}

fn left_out(error: &anyhow::Error) -> Outcome {
    Outcome::skipped(linux_tests::COUNT as u64, format!("{error:#}"))
}

fn directly(packages: &Packages) -> Result<Outcome> {
    let guest = Guest::build(&paths::target().join("linux-guest"), packages)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("linux-tests").arg("--stillpoint").arg(build::stillpoint()?);
    command.arg("--guest").arg(guest.dir()).arg("--logs").arg(paths::target().join(LOGS));
    let ran = log::run("linux", &mut command)?;
    Ok(Outcome {
        tally: tap::tally(&ran.text),
        log: ran.text,
        log_file: Some(ran.file),
        skips: Vec::new(),
    })
}

fn nested(packages: &Packages) -> Result<Outcome> {
    let guest = Guest::build(&paths::target().join("linux-guest"), packages)?;
    let own = std::env::current_exe().context("cannot find this program")?;
    let logs = paths::target().join(LOGS);
    let options = host::Options {
        files: vec![
            (own, "usr/local/bin/xtask".to_owned()),
            (guest.vmlinux(), "guest/vmlinux".to_owned()),
        ],
        out: Some(logs.clone()),
        limit: Duration::from_mins(30),
        ..host::Options::default()
    };
    let words = [
        "xtask",
        "linux-tests",
        "--stillpoint",
        "/usr/local/bin/stillpoint",
        "--guest",
        "/guest",
        "--logs",
        "/out",
    ];
    let mut text = Vec::new();
    let mut each = |output: Output<'_>| match output {
        Output::Out(bytes) | Output::Err(bytes) => text.extend_from_slice(bytes),
    };
    let result = host::run(&options, &words.map(str::to_owned), Streams::Piped(&mut each));
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let mut tally = tap::tally(&text);
    if let Err(error) = result {
        let error = format!("{error:#}");
        text.push_str(&error);
        tally.failed = tally.failed.max(1);
    }
    Ok(Outcome { tally, log: text, log_file: Some(logs), skips: Vec::new() })
}
