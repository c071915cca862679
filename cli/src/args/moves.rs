//! The options of what moves a VM as a whole: snapshots and migration.
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Place, Target};

#[derive(Args, Debug)]
pub struct Snapshot {
    #[command(subcommand)]
    pub inspect: Option<SnapshotCommand>,
    #[command(flatten)]
    pub target: Target,
    /// Directory that is to be made
    #[arg(value_name = "DIR", required = true)]
    pub directory: Option<PathBuf>,
    /// Save what has changed since this snapshot, which is needed for a restore then
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Copy memory while the guest runs, and let it stand still for the last changes only
    #[arg(long)]
    pub live: bool,
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Show what is in a snapshot
    Inspect(Inspect),
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// Directory of the snapshot
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Restore {
    /// Directory of the snapshot
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Leave the VM paused
    #[arg(long)]
    pub paused: bool,
    /// How its memory is filled: copy (before it runs), ondemand (while it runs), or mapped (from the
    /// snapshot's file, which has to stay as it is)
    #[arg(long, value_name = "HOW", default_value = "copy")]
    pub memory: String,
    /// Open taps for network devices: ID=FD[:FD…], a descriptor for each pair of queues
    #[arg(long, value_name = "ID=FD[:FD…]", num_args = 1..)]
    pub net_fds: Vec<String>,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args, Debug)]
pub struct Receive {
    /// Where to wait: unix:PATH or tcp:HOST:PORT
    #[arg(value_name = "URL")]
    pub url: String,
    /// Take a VM over TLS only: a directory with ca-cert.pem, server-cert.pem and server-key.pem
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Open taps for network devices: ID=FD[:FD…], a descriptor for each pair of queues
    #[arg(long, value_name = "ID=FD[:FD…]", num_args = 1..)]
    pub net_fds: Vec<String>,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Migrate {
    #[command(flatten)]
    pub target: Target,
    /// Where a VMM waits for the VM: unix:PATH or tcp:HOST:PORT
    #[arg(long, value_name = "URL", group = "what")]
    pub to: Option<String>,
    /// End the migration that is under way; the VM goes on here
    #[arg(long, group = "what")]
    pub cancel: bool,
    /// Show how far it is, or what the last one came to
    #[arg(long, group = "what")]
    pub status: bool,
    /// Say whose a VM in doubt is: keep (it is here) or drop (it is there)
    #[arg(long, value_name = "KEEP|DROP", group = "what")]
    pub resolve: Option<String>,
    /// How long the guest may stand still, in milliseconds [default: 300]
    #[arg(long, value_name = "MS", requires = "to")]
    pub downtime_ms: Option<u64>,
    /// How long to go on copying memory, in seconds, before the strategy decides [default: 3600]
    #[arg(long, value_name = "S", requires = "to")]
    pub timeout_s: Option<u64>,
    /// When the guest writes faster than that allows: cancel, ignore (the downtime) or throttle (the guest) [default: cancel]
    #[arg(long, value_name = "WHAT", requires = "to")]
    pub timeout_strategy: Option<String>,
    /// Connections that carry memory, 1 to 64 [default: 1]
    #[arg(long, value_name = "N", requires = "to")]
    pub connections: Option<u16>,
    /// How memory is sent: none, lz4 or zstd [default: none]
    #[arg(long, value_name = "HOW", requires = "to")]
    pub compression: Option<String>,
    /// When memory goes: precopy (before the VM), or postcopy (the rest after it, if it does not get
    /// little enough; if the link breaks then, the VM is lost) [default: precopy]
    #[arg(long, value_name = "WHEN", requires = "to")]
    pub memory_mode: Option<String>,
    /// With postcopy, how many rounds over the memory go before the VM [default: 1]
    #[arg(long, value_name = "N", requires = "to")]
    pub precopy_rounds: Option<u32>,
    /// To a VMM on this host, over unix: — it takes over the memory itself and the open files of the disks, and nothing is copied
    #[arg(long, requires = "to", conflicts_with_all = ["connections", "compression", "tls_dir"])]
    pub local: bool,
    /// Send it over TLS: a directory with ca-cert.pem, client-cert.pem and client-key.pem
    #[arg(long, value_name = "DIR", requires = "to")]
    pub tls_dir: Option<PathBuf>,
}
