//! The command line.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Boots and controls virtual machines.
#[derive(Debug, Parser)]
#[command(
    name = "stillpoint",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  stillpoint run                                   the embedded guest, on this terminal
  stillpoint run --kernel vmlinuz --initramfs initrd --cmdline console=ttyS0 \\
      --cpus boot=4,max=8 --memory size=1G --name web --detach
  stillpoint ls                                    what runs
  stillpoint pause web && stillpoint resume web"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub logging: Logging,
}

/// Where the log goes and how much of it.
#[derive(Args, Clone, Debug)]
pub struct Logging {
    /// Say more: once for what happens, twice for each request, three times for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Append the log to this file instead of writing it to standard error
    #[arg(long, global = true, value_name = "PATH")]
    pub log_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a VM, in the foreground with its serial console on this terminal
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Start a VMM without a VM, to be driven through its API
    #[command(after_help = "Example:
  stillpoint serve --api-socket /tmp/api.sock &
  curl --unix-socket /tmp/api.sock -X PUT http://localhost/api/v1/vm.create -d '{}'
  curl --unix-socket /tmp/api.sock -X PUT http://localhost/api/v1/vm.boot")]
    Serve(Serve),
    /// List the VMs that run, and clear up after dead ones
    #[command(after_help = "Example:\n  stillpoint ls --json")]
    Ls(Ls),
    /// Show a VM: phase, configuration, vCPUs
    #[command(after_help = "Examples:
  stillpoint info web
  stillpoint info web --json | jq .state")]
    Info(Info),
    /// Pause a VM; returns when every vCPU stands still
    #[command(after_help = "Example:\n  stillpoint pause web")]
    Pause(Target),
    /// Let a paused VM go on
    #[command(after_help = "Example:\n  stillpoint resume web")]
    Resume(Target),
    /// Send a non-maskable interrupt to every vCPU
    #[command(after_help = "Example:\n  stillpoint nmi web")]
    Nmi(Target),
    /// Reset a VM and boot it again, in place
    #[command(after_help = "Example:\n  stillpoint reboot web")]
    Reboot(Target),
    /// Shut a VM down, end its VMM and wait until it is gone
    #[command(after_help = "Example:\n  stillpoint stop web")]
    Stop(Target),
    /// End a VMM at once; by signals if it does not answer
    #[command(after_help = "Example:\n  stillpoint kill web")]
    Kill(Target),
    /// Watch a VM: phase, vCPUs, exits per second
    #[command(after_help = "Keys: p pause, r resume, n NMI, arrows scroll, q quit

Example:\n  stillpoint top web")]
    Top(Target),
}

const RUN_EXAMPLES: &str = "\
Values: sizes take K, M, G, T; toggles are on or off; quote what contains commas.
On the terminal: Ctrl-A x ends the VM, Ctrl-A h helps.

Examples:
  stillpoint run
  stillpoint run --kernel vmlinuz --initramfs initrd --cmdline \"console=ttyS0\" \\
      --cpus boot=4,max=8,topology=2:4:1:1 --memory size=1G,hugepages=on --name web
  stillpoint run --cpus boot=2,affinity=[0@[0-1],1@[2,3]] --serial file=/tmp/out.log --detach";

#[derive(Args, Debug)]
pub struct Run {
    /// Kernel: bzImage or ELF vmlinux; without it, the embedded guest
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM file system for the kernel
    #[arg(long, value_name = "PATH")]
    pub initramfs: Option<PathBuf>,
    /// Kernel command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// vCPUs: `boot=N,max=N,topology=THREADS:CORES:DIES:PACKAGES,affinity=[VCPU@[CPUS],…]`
    #[arg(long, value_name = "OPTIONS")]
    pub cpus: Option<String>,
    /// Guest RAM: size=SIZE,shared=,hugepages=,hugepage_size=SIZE,prefault=,thp= [default: size=512M]
    #[arg(long, value_name = "OPTIONS")]
    pub memory: Option<String>,
    /// COM1 (ttyS0): off, null, tty, pty, file=PATH or socket=PATH [default: tty; null with --detach]
    #[arg(long, value_name = "WHERE")]
    pub serial: Option<String>,
    /// Second console, for now COM2 (ttyS1): the same values [default: off]
    #[arg(long, value_name = "WHERE")]
    pub console: Option<String>,
    /// Name for the other commands to find the VM by [default: vm-1, vm-2, …]
    #[arg(long)]
    pub name: Option<String>,
    /// Socket of the API [default: in the user's runtime directory, under the VM's name]
    #[arg(long, value_name = "PATH")]
    pub api_socket: Option<PathBuf>,
    /// Run in the background; returns when the VM runs
    #[arg(long)]
    pub detach: bool,
    /// This is the process that --detach made: report on standard output
    #[arg(long, hide = true)]
    pub detached: bool,
}

#[derive(Args, Debug)]
pub struct Serve {
    /// Socket of the API
    #[arg(long, value_name = "PATH", required_unless_present = "name")]
    pub api_socket: Option<PathBuf>,
    /// Instead of a socket: a name for the other commands to find the VMM by
    #[arg(long, conflicts_with = "api_socket")]
    pub name: Option<String>,
}

#[derive(Args, Debug)]
pub struct Ls {
    /// As a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Info {
    #[command(flatten)]
    pub target: Target,
    /// What vm.info answers, as it is
    #[arg(long)]
    pub json: bool,
}

/// Which VM is meant.
#[derive(Args, Debug)]
pub struct Target {
    /// Name of the VM; may be left out if only one runs
    pub name: Option<String>,
    /// Socket of its API, for a VM outside the runtime directory
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    pub api_socket: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
