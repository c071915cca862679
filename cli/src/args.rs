//! The command line.
mod moves;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use moves::{Inspect, Migrate, Place, Receive, Restore, Snapshot, SnapshotCommand};

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

const RUN_EXAMPLES: &str = "\
Values: sizes take K, M, G, T; toggles are on or off; quote what contains commas.
On the terminal: Ctrl-A x ends the VM, Ctrl-A h helps.

Examples:
  stillpoint run
  stillpoint run --kernel vmlinuz --initramfs initrd --cmdline \"console=ttyS0\" \\
      --cpus boot=4,max=8,topology=2:4:1:1 --memory size=1G,hugepages=on --name web
  stillpoint run --kernel vmlinuz --cmdline \"console=hvc0 root=/dev/vda\" --console tty --serial null \\
      --disk path=root.qcow2 path=data.raw,readonly=on --net tap=tap0 --vsock cid=3,socket=web.vsock
  stillpoint run --cpus boot=2,affinity=[0@[0-1],1@[2,3]] --serial file=/tmp/out.log --detach";

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
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
    /// Guest RAM: size=SIZE,shared=,hugepages=,hugepage_size=SIZE,prefault=,thp=,
    /// hotplug_method=virtio-mem,hotplug_size=SIZE,hotplugged_size=SIZE [default: size=512M]
    #[arg(long, value_name = "OPTIONS")]
    pub memory: Option<String>,
    /// Zones of guest RAM, in order, in place of its size: id=ID,size=SIZE,shared=,hugepages=,hugepage_size=SIZE,prefault=,
    /// hotplug_size=SIZE,hotplugged_size=SIZE
    #[arg(long, value_name = "OPTIONS", num_args = 1..)]
    pub memory_zone: Vec<String>,
    /// The guest's NUMA nodes: `guest_numa_id=N,cpus=[VCPUS],distances=[NODE@DISTANCE,…],memory_zones=[IDS],
    /// pci_segments=[0]`; without --memory-zone, the memory's zone is mem0
    #[arg(long, value_name = "OPTIONS", num_args = 1..)]
    pub numa: Vec<String>,
    /// Disks: path=PATH,readonly=,direct=,num_queues=N,queue_size=N,image_type=raw|qcow2,serial=TEXT,id=ID,
    /// backing_files=,disable_io_uring=,bw_size=SIZE,bw_one_time_burst=SIZE,bw_refill_time=MS,
    /// ops_size=N,ops_one_time_burst=N,ops_refill_time=MS
    #[arg(long, value_name = "OPTIONS", num_args = 1..)]
    pub disk: Vec<String>,
    /// Network devices: tap=NAME,ip=,mask=,mac=,host_mac=,mtu=N,num_queues=N,queue_size=N,id=ID,fd=[N,…],
    /// offload_tso=,offload_ufo=,offload_csum=, and limits as for --disk
    #[arg(long, value_name = "OPTIONS", num_args = 1..)]
    pub net: Vec<String>,
    /// Entropy for the guest: src=PATH,id=ID, usually src=/dev/urandom
    #[arg(long, value_name = "OPTIONS")]
    pub rng: Option<String>,
    /// Sockets between guest and host: cid=N,socket=PATH,id=ID
    #[arg(long, value_name = "OPTIONS")]
    pub vsock: Option<String>,
    /// Memory that the guest gives back: size=SIZE,deflate_on_oom=,free_page_reporting=,id=ID
    #[arg(long, value_name = "OPTIONS")]
    pub balloon: Option<String>,
    /// A device by which the guest tells that its kernel panicked
    #[arg(long)]
    pub pvpanic: bool,
    /// A device that resets a guest which arms it and then leaves it alone for too long (i6300esb)
    #[arg(long)]
    pub watchdog: bool,
    /// COM1 (ttyS0): off, null, tty, pty, file=PATH or socket=PATH
    /// [default: tty; null with --detach or --console tty]
    #[arg(long, value_name = "WHERE")]
    pub serial: Option<String>,
    /// Virtio console (hvc0): the same values, and id=ID [default: off]
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

#[derive(Args, Debug)]
pub struct AddDisk {
    #[command(flatten)]
    pub target: Target,
    /// The disk, as after `run --disk`
    #[arg(value_name = "OPTIONS")]
    pub disk: String,
}

#[derive(Args, Debug)]
pub struct AddNet {
    #[command(flatten)]
    pub target: Target,
    /// The network device, as after `run --net`
    #[arg(value_name = "OPTIONS")]
    pub net: String,
}

#[derive(Args, Debug)]
pub struct AddVsock {
    #[command(flatten)]
    pub target: Target,
    /// The vsock, as after `run --vsock`
    #[arg(value_name = "OPTIONS")]
    pub vsock: String,
}

#[derive(Args, Debug)]
pub struct RemoveDevice {
    #[command(flatten)]
    pub target: Target,
    /// Id of the device, as `info` shows it
    pub id: String,
}

#[derive(Args, Debug)]
pub struct ResizeDisk {
    /// The VM (may be left out if only one runs), the disk's id, and the size it is to have
    #[arg(value_names = ["VM", "ID", "SIZE"], num_args = 2..=3, required = true)]
    pub words: Vec<String>,
    /// Socket of the VM's API, for a VM outside the runtime directory
    #[arg(long, value_name = "PATH")]
    pub api_socket: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Resize {
    #[command(flatten)]
    pub target: Target,
    /// How many vCPUs the guest is to have
    #[arg(long, value_name = "N", required_unless_present_any = ["memory", "balloon"])]
    pub cpus: Option<u32>,
    /// Bytes of RAM that the guest is to have: from its size to that and hotplug_size together
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Bytes that the guest is to give back
    #[arg(long, value_name = "SIZE")]
    pub balloon: Option<String>,
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
