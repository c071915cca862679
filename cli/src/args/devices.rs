//! The options of what changes a VM's devices and sizes.
use std::path::PathBuf;

use clap::Args;

use super::Target;

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
