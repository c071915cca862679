//! The options of what moves a VM as a whole: snapshots and migration.
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Target;

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

/// Where a VM that comes is to be.
#[derive(Args, Debug)]
pub struct Place {
    /// Name for the other commands to find the VM by [default: vm-1, vm-2, …]
    #[arg(long)]
    pub name: Option<String>,
    /// Socket of the API [default: in the user's runtime directory, under the VM's name]
    #[arg(long, value_name = "PATH")]
    pub api_socket: Option<PathBuf>,
    /// Run in the background; a console that was on a terminal leads nowhere then
    #[arg(long)]
    pub detach: bool,
    /// This is the process that --detach made: report on standard output
    #[arg(long, hide = true)]
    pub detached: bool,
}

#[derive(Args, Debug)]
pub struct Restore {
    /// Directory of the snapshot
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Leave the VM paused
    #[arg(long)]
    pub paused: bool,
    /// How its memory is filled: copy, or ondemand, which maps the snapshot's file
    #[arg(long, value_name = "HOW", default_value = "copy")]
    pub memory: String,
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
    /// Send it over TLS: a directory with ca-cert.pem, client-cert.pem and client-key.pem
    #[arg(long, value_name = "DIR", requires = "to")]
    pub tls_dir: Option<PathBuf>,
}
