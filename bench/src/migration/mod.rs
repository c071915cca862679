//! Migrations, snapshots and restores, as their users ask for them: `stillpoint` processes behind their API sockets.
//!
//! ```text
//!   stillpoint run ── driver guest: fills memory, then writes the time over and over ──▶ stillpoint serve
//!                       └ its longest break between two writes is the downtime as a guest sees it
//!   socket:   a plain program that writes into a Unix socket what another thread reads: the link's limit
//! ```
//!
//! The guest's longest break is measured from before the migration to its end at the destination. It has in it whatever else the host does
//! meanwhile, also to the destination's first accesses; the breakdown is the source's own.

mod converge;
mod floor;
mod link;
mod local;
mod narrow;
mod precopy;
mod snapshot;
mod tls;
mod turn;
mod vm;

use std::path::PathBuf;

use anyhow::Result;

use crate::report::Tables;

/// Bytes of the guest's memory: 256 MiB, and 16 of the driver program.
const MEMORY: u64 = stillpoint_guest::driver::MEMORY_END;
/// What of it a guest fills that does.
const FILLED: u64 = 208 << 20;

/// What is measured, and how often.
pub struct Plan {
    /// The program.
    pub stillpoint: PathBuf,
    /// Turns of each case; the medians are shown.
    pub turns: usize,
    /// Where snapshots are made.
    pub dir: PathBuf,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Pre-copy over a Unix socket
    Precopy,
    /// Snapshots, and restores from them
    Snapshot,
    /// Hand-overs on this host, of which nothing is copied
    Local,
    /// What TLS costs
    Tls,
    /// A guest that writes faster than the link carries
    Converge,
}

impl Part {
    /// Measures it.
    pub fn measure(self, plan: &Plan, tables: &mut Tables) -> Result<()> {
        match self {
            Self::Precopy => tables.add("precopy", precopy::measure(plan)?),
            Self::Converge => tables.add("converge", converge::measure(plan)?),
            Self::Snapshot => tables.add("snapshot", snapshot::measure(plan)?),
            Self::Local => tables.add("local", local::measure(plan)?),
            Self::Tls => tables.add("tls", tls::measure(plan)?),
        }
        Ok(())
    }
}

/// What the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// One vCPU that writes the time.
    Clock,
    /// The same, when it has filled its memory.
    Filled,
    /// One vCPU that rewrites pages at random, over and over.
    Rewriting,
    /// So many vCPUs that halt; no guest that looks at the time.
    Halted(u32),
}

impl Doing {
    fn name(self) -> String {
        match self {
            Self::Clock => "1 vCPU, hardly any memory".to_owned(),
            Self::Filled => "1 vCPU, 208 MiB filled".to_owned(),
            Self::Rewriting => "1 vCPU, rewrites 4 MiB".to_owned(),
            Self::Halted(vcpus) => format!("{vcpus} vCPUs, halted"),
        }
    }
}

/// The median; empty without values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A cell: so many decimals, or nothing.
fn cell(values: Vec<f64>, decimals: usize) -> String {
    median(values).map_or_else(String::new, |value| format!("{value:.decimals$}"))
}
