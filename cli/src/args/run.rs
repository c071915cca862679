//! The options of `run`.
use std::path::PathBuf;

use clap::Args;

use super::Place;

pub const RUN_EXAMPLES: &str = "\
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
    #[command(flatten)]
    pub place: Place,
}
