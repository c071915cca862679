//! `stillpoint-bench breakdown`.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use super::{Common, check_kvm, count, plan, vcpus};
use crate::cell::{Guest, Load};
use crate::{breakdown, subject};

/// Where the time of a pause goes
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench breakdown
  stillpoint-bench breakdown --vcpus 254 --guest spinning")]
pub(super) struct BreakdownArgs {
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = vcpus())]
    vcpus: u32,
    /// What they do
    #[arg(long, default_value = "halted")]
    guest: Guest,
    /// Cycles with the guest running in between
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cycles: u32,
    #[command(flatten)]
    common: Common,
}

impl BreakdownArgs {
    pub(super) fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let stillpoint = subject::find(self.common.stillpoint.clone())?;
        let load = Load { vcpus: count(self.vcpus)?, guest: self.guest };
        // Its storm is not shown.
        let plan = plan(self.cycles, 1, self.common.settle);
        print!("{}", breakdown::breakdown(load, plan, &stillpoint)?);
        Ok(())
    }
}
