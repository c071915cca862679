//! `stillpoint-bench migration`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{check_kvm, size};
use crate::migration::{self, Part};
use crate::report::{Host, Tables};
use crate::subject;

/// Migrations between two processes, snapshots and restores of a guest with 272 MiB
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench migration
  stillpoint-bench migration --turns 11 --json migration.json
  stillpoint-bench migration --only snapshot --dir /var/tmp")]
pub(super) struct MigrationArgs {
    /// What is measured
    #[arg(long, value_delimiter = ',', value_name = "PART,…", default_values = ["precopy", "local", "snapshot", "tls"])]
    only: Vec<Part>,
    /// Turns of each case, of which the medians are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    turns: u32,
    /// Where snapshots are made [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The program to measure [default: `stillpoint` beside this program]
    #[arg(long, value_name = "PATH")]
    stillpoint: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl MigrationArgs {
    pub(super) fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let plan = migration::Plan {
            stillpoint: subject::find(self.stillpoint)?,
            turns: size(self.turns),
            dir: self.dir.unwrap_or_else(std::env::temp_dir),
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
