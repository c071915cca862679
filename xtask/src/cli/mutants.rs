//! The commands that change the code and see whether the tests notice.
use anyhow::Result;
use clap::Args;

use crate::{model_mutants, mutants};

/// Change the lifecycle's code in every small way and see whether the tests notice.
///
/// Needs cargo-mutants, which is built into the user's cache once. Each layer of tests gets what the quicker ones before it let
/// live; what survives all must be in vcpu-state/mutants.json with a reason, and what is there must survive. Status 1 otherwise.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask mutants-lifecycle
  cargo xtask mutants-lifecycle --only 'event.rs.* in release_pause'
  cargo xtask mutants-lifecycle --jobs 1 --shard 0/8
  cargo xtask mutants-lifecycle --jobs 1 --all")]
pub struct LifecycleArgs {
    /// Builds and tests at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Only mutants whose names match this regular expression
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Only one part of the mutants, of which there are N; K counts from 0
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Try listed survivors against the slow layers, too, which takes minutes for each
    #[arg(long)]
    all: bool,
}

impl LifecycleArgs {
    /// Does it; the result is the program's exit status.
    pub fn run(self) -> Result<u8> {
        let Self { jobs, only, shard, all } = self;
        let options = mutants::Options { jobs: jobs.into(), only, shard, all };
        Ok(u8::from(!mutants::run(&options)?))
    }
}

/// Put known bugs back into the code of devices and groups, one at a time, and see whether the models find them.
///
/// The bugs are in loom-tests/mutants.json, each with the model that has to find it. Each is built in a copy of the sources. Status 1 if
/// one is not found.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask mutants-devices
  cargo xtask mutants-devices --only queue-reset")]
pub struct DevicesArgs {
    /// Only those whose model or file has this in its name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only one part of them, of which there are N; K counts from 0
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let (part, parts) = text.split_once('/').ok_or("it is K/N")?;
    let [part, parts] =
        [part, parts].map(|number| number.parse::<usize>().map_err(|e| e.to_string()));
    match (part?, parts?) {
        (part, parts) if part < parts => Ok((part, parts)),
        _ => Err("K is less than N".to_owned()),
    }
}

impl DevicesArgs {
    /// Does it; the result is the program's exit status.
    pub fn run(self) -> Result<u8> {
        let Self { only, shard } = self;
        Ok(u8::from(!model_mutants::run(&model_mutants::Options { only, shard })?))
    }
}
