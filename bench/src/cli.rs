//! The command line: each command in a module of its own.

mod breakdown;
mod io;
mod latency;
mod migration;
mod pause;
mod throttle;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::cycles::Plan;
use crate::pace;

/// Measures how long Stillpoint takes to pause, resume and start a VM.
///
/// The guest is the embedded one, booted with its vCPUs halted or spinning natively. Every figure is compared with plain
/// threads that are stopped by one signal each in the same run, and with what other VMMs need.
#[derive(Parser)]
#[command(name = "stillpoint-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pause(pause::PauseArgs),
    Breakdown(breakdown::BreakdownArgs),
    Throttle(throttle::ThrottleArgs),
    Latency(latency::LatencyArgs),
    Io(io::IoArgs),
    Migration(migration::MigrationArgs),
}

#[derive(Args)]
struct Common {
    /// How long the guest runs at least between two cycles, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    settle: u32,
    /// The program to measure [default: `stillpoint` beside this program]
    #[arg(long, value_name = "PATH")]
    stillpoint: Option<PathBuf>,
}

fn vcpus() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1024)
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<()> {
        pace::catch_signals()?;
        match self.command {
            Command::Pause(args) => args.run(),
            Command::Breakdown(args) => args.run(),
            Command::Throttle(args) => args.run(),
            Command::Latency(args) => args.run(),
            Command::Io(args) => args.run(),
            Command::Migration(args) => args.run(),
        }
    }
}

fn plan(cycles: u32, storm: u32, settle_ms: u32) -> Plan {
    Plan {
        cycles: size(cycles),
        storm: size(storm),
        settle: Duration::from_millis(u64::from(settle_ms)),
    }
}

/// Lossless where `usize` has 32 bits or more.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn count(vcpus: u32) -> Result<NonZeroU32> {
    NonZeroU32::new(vcpus).context("a VM has at least one vCPU")
}

fn check_kvm(device: &Path) -> Result<()> {
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no {}: load the kernel's kvm module, or measure plain threads only with --at threads",
            device.display()
        ),
        Err(error) => bail!("cannot open {}: {error}", device.display()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_of_vcpus_are_checked() {
        for (vcpus, good) in [("1,1024", true), ("0", false), ("1025", false), ("many", false)] {
            let parsed = Cli::try_parse_from(["bench", "pause", "--vcpus", vcpus]);
            assert_eq!(parsed.is_ok(), good, "{vcpus}");
        }
    }

    #[test]
    fn a_host_without_kvm_is_told_what_it_lacks() {
        let error = check_kvm(Path::new("/nowhere/kvm")).unwrap_err().to_string();
        assert!(error.contains("no /nowhere/kvm") && error.contains("--at threads"), "{error}");
    }
}
