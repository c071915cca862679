//! The options of whatever starts a VMM for one VM.
use std::path::PathBuf;

use clap::Args;

/// Where a VM is to be, and how to find it.
#[derive(Args, Debug)]
pub struct Place {
    /// Name for the other commands to find the VM by [default: vm-1, vm-2, …]
    #[arg(long)]
    pub name: Option<String>,
    /// Socket of the API [default: in the user's runtime directory, under the VM's name]
    #[arg(long, value_name = "PATH")]
    pub api_socket: Option<PathBuf>,
    /// Run in the background; returns when the VM runs, or is waited for. A console on the terminal leads nowhere then
    #[arg(long)]
    pub detach: bool,
    /// This is the process that --detach made: report on standard output
    #[arg(long, hide = true)]
    pub detached: bool,
}
