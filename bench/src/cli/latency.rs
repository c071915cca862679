//! `stillpoint-bench latency`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{check_kvm, count, vcpus};
use crate::latency;

/// How long vCPUs that an interrupt wakes wait for a processor on a busy host, and whether pauses cost them any
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench latency
  stillpoint-bench latency --busy 8 --rounds 10")]
pub(super) struct LatencyArgs {
    /// Number of vCPUs, halted, each woken by a timer a thousand times a second
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = vcpus())]
    vcpus: u32,
    /// Threads that spin beside them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1024))]
    busy: u32,
    /// How often each kind of thread has its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long a turn is
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

impl LatencyArgs {
    pub(super) fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let plan = latency::Plan {
            vcpus: count(self.vcpus)?,
            busy: self.busy,
            rounds: self.rounds,
            window: Duration::from_secs(u64::from(self.seconds)),
        };
        print!("{}", latency::latency(plan)?);
        Ok(())
    }
}
