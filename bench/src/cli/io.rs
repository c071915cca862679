//! `stillpoint-bench io`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{check_kvm, size};
use crate::io;
use crate::report::{Host, Tables};

/// Block requests and packets of a guest next to a plain program's, and what an exit costs
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench io
  stillpoint-bench io --json io.json
  stillpoint-bench io --only net --turns 9         as root: it makes a tap, in a network namespace of its own
  stillpoint-bench io --only dispatch
  stillpoint-bench io --only block --dir /dev/shm --milliseconds 1000")]
pub(super) struct IoArgs {
    /// What is measured
    #[arg(long, value_delimiter = ',', value_name = "PART,…", default_values = ["block", "net", "dispatch", "registers"])]
    only: Vec<IoPart>,
    /// Where the disk's image is made
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
    /// How long each side runs at a time
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    milliseconds: u32,
    /// Turns of each side, of which the medians are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    turns: u32,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the measurement of device I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum IoPart {
    /// virtio-blk
    Block,
    /// virtio-net on a tap
    Net,
    /// Exits: in user space, and as a whole
    Dispatch,
    /// Pauses while vCPUs are at registers
    Registers,
}

impl IoArgs {
    pub(super) fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let plan = io::Plan {
            window: Duration::from_millis(u64::from(self.milliseconds)),
            turns: size(self.turns),
            dir: self.dir,
        };
        let host = Host::this();
        if let Some(warning) = host.warning() {
            eprintln!("warning: {warning}");
        }
        let mut tables = Tables::new(host);
        // What has been measured before an error, or Ctrl-C, is worth showing too.
        let measured = self.only.iter().try_for_each(|part| part.measure(&plan, &mut tables));
        print!("{tables}");
        if let Some(path) = &self.json {
            tables.write_json(path)?;
        }
        measured
    }
}

impl IoPart {
    fn measure(self, plan: &io::Plan, tables: &mut Tables) -> Result<()> {
        match self {
            Self::Block => tables.add("block", io::block(plan)?),
            Self::Net => tables.add("net", io::net(plan)?),
            Self::Dispatch => {
                tables.add("dispatch", io::dispatch()?);
                tables.add("exits", io::exits()?);
            }
            Self::Registers => tables.add("registers", io::registers(plan)?),
        }
        Ok(())
    }
}
