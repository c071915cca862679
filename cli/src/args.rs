//! The command line.
mod devices;
mod moves;
mod place;
mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use devices::{AddDisk, AddNet, AddVsock, RemoveDevice, Resize, ResizeDisk};
pub use moves::{Inspect, Migrate, Receive, Restore, Snapshot, SnapshotCommand};
pub use place::Place;
use run::RUN_EXAMPLES;
pub use run::Run;

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
  stillpoint pause web && stillpoint resume web
  stillpoint snapshot web /var/snapshots/web-1     all of it but its disks
  stillpoint restore /var/snapshots/web-1 --name web
  stillpoint migrate web --to tcp:other:4444       to where `stillpoint receive tcp:0.0.0.0:4444` waits"
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
    Run(Box<Run>),
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
    /// Press a VM's power button: a guest that listens shuts itself down
    #[command(after_help = "Example:\n  stillpoint power-button web")]
    PowerButton(Target),
    /// Reset a VM and boot it again, in place
    #[command(after_help = "Example:\n  stillpoint reboot web")]
    Reboot(Target),
    /// Add a disk to a VM: to its bus while it runs, else to its configuration
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:
  stillpoint add-disk web path=/images/data.qcow2
  stillpoint add-disk web path=/dev/vg0/data,direct=on,id=data,bw_size=100M,bw_refill_time=1000"
    )]
    AddDisk(AddDisk),
    /// Add a network device to a VM
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:
  stillpoint add-net web tap=tap1
  stillpoint add-net web tap=tap1,mac=52:54:00:12:34:56,num_queues=4,id=lan"
    )]
    AddNet(AddNet),
    /// Add a vsock to a VM, which can have one
    #[command(
        allow_missing_positional = true,
        after_help = "Example:
  stillpoint add-vsock web cid=3,socket=/run/web.vsock"
    )]
    AddVsock(AddVsock),
    /// Remove a disk, a network device or the vsock; a guest that has it is asked to let go of it
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:
  stillpoint remove-device web data
  stillpoint remove-device _disk1             of the only VM that runs"
    )]
    RemoveDevice(RemoveDevice),
    /// Tell a VM that a disk has another size, and make its image that large
    #[command(after_help = "Examples:
  stillpoint resize-disk web data 20G
  stillpoint resize-disk _disk0 20G           of the only VM that runs")]
    ResizeDisk(ResizeDisk),
    /// Change how many vCPUs or how much memory a guest has, or what it gives back through its balloon
    #[command(after_help = "Examples:
  stillpoint resize web --cpus 6              up to `max=` of `run --cpus`
  stillpoint resize web --memory 3G           more is plugged in, or some unplugged
  stillpoint resize web --balloon 256M
  stillpoint resize web --balloon 0           the guest gets all back")]
    Resize(Resize),
    /// Save a VM into a directory, running or paused, without its disks; or look into one
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        allow_missing_positional = true,
        after_help = "The VM stands still while its memory is copied, and is as it was afterwards. Its disks are not saved: copy the images while it
is paused, and restore it with images as they were then.

Examples:
  stillpoint snapshot web /var/snapshots/web-1
  stillpoint snapshot web /var/snapshots/web-2 --base /var/snapshots/web-1     what has changed since
  stillpoint snapshot inspect /var/snapshots/web-2"
    )]
    Snapshot(Snapshot),
    /// Start a VM from a snapshot, as `run` starts one from options
    #[command(after_help = "Examples:
  stillpoint restore /var/snapshots/web-1
  stillpoint restore /var/snapshots/web-1 --name web --detach
  stillpoint restore /var/snapshots/web-1 --paused")]
    Restore(Restore),
    /// Send a VM to a VMM that waits for it, while it runs; or look at that, cancel it, or settle it
    #[command(after_help = "On the other host, first:
  stillpoint receive tcp:0.0.0.0:4444 --name web --detach

Examples:
  stillpoint migrate web --to tcp:other:4444 --tls-dir /etc/pki/stillpoint
  stillpoint migrate web --to unix:/run/web.mig --downtime-ms 20 --timeout-strategy throttle
  stillpoint migrate web --status
  stillpoint migrate web --cancel
  stillpoint migrate web --resolve keep        after a hand-over that broke off: the VM is here")]
    Migrate(Migrate),
    /// Wait for a VM that another VMM sends, and run it, as `run` does
    #[command(after_help = "Without --tls-dir, whoever reaches a TCP port can send a VM there.

Examples:
  stillpoint receive unix:/run/web.mig --name web
  stillpoint receive tcp:0.0.0.0:4444 --tls-dir /etc/pki/stillpoint --name web --detach")]
    Receive(Receive),
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
