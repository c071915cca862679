//! `stillpoint-bench throttle`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{check_kvm, count, vcpus};
use crate::cell::{Guest, Load};
use crate::throttle;

/// How well a throttle keeps its set point, for vCPUs that spin
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench throttle
  stillpoint-bench throttle --percent 50 --period 1,2,5 --seconds 10")]
pub(super) struct ThrottleArgs {
    /// Number of vCPUs; the guest's own share is comparable only with a processor for each
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = vcpus())]
    vcpus: u32,
    /// Set points: for how many percent of the time the vCPUs are held
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,…", default_values = ["1", "10", "50", "90", "99"], value_parser = clap::value_parser!(u8).range(1..=99))]
    percent: Vec<u8>,
    /// Periods, in milliseconds
    #[arg(long, value_delimiter = ',', value_name = "MS,…", default_values = ["1", "10", "100"], value_parser = clap::value_parser!(u32).range(1..=60_000))]
    period: Vec<u32>,
    /// How long each is watched
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// The kernel chooses the vCPUs' processors, also where there is one for each
    #[arg(long)]
    unpinned: bool,
}

impl ThrottleArgs {
    pub(super) fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        let plan = throttle::Plan {
            load: Load { vcpus: count(self.vcpus)?, guest: Guest::Spinning },
            percents: self.percent,
            periods: self.period.into_iter().map(millis).collect(),
            window: Duration::from_secs(u64::from(self.seconds)),
            pinned: !self.unpinned,
        };
        print!("{}", throttle::throttle(&plan)?);
        Ok(())
    }
}
