//! What a VM is made of: the JSON shapes of Cloud Hypervisor's `VmConfig`, and its option strings
//! (`--cpus boot=4,max=8`) as a second notation for the same structs.
//!
//! ```text
//!   option strings ──parse──▶ CpusConfig, MemoryConfig, … ──┐
//!                                                           ├─▶ VmConfig ──validate──▶ a VM
//!   JSON of vm.create ──from_json──▶ ───────────────────────┘
//! ```
//!
//! Invariants:
//! - Each struct prints (`Display`) as an option string that parses back to an equal struct.
//! - Nothing is ignored in silence: an unknown or misspelt key, and a Cloud Hypervisor feature
//!   that does not exist here, are errors that name the key, unless the value asks for nothing.
//! - [`VmConfig::validate`] needs no KVM: what it accepts can still fail for want of resources.
mod affinity;
mod balloon;
mod change;
mod check_devices;
mod check_images;
mod check_memory;
mod check_numa;
mod console;
mod cpus;
mod disk;
mod error;
mod ids;
mod json;
mod link_url;
mod mac;
mod memory;
mod nearest;
mod net;
mod net_fds;
mod numa;
mod options;
mod payload;
mod rate_limit;
mod rng;
mod strict;
mod transfer;
mod unsupported;
mod validate;
mod values;
mod vsock;
mod zones;

pub use affinity::CpuAffinity;
pub use balloon::BalloonConfig;
pub use change::{Removal, RemoveDeviceConfig, ResizeConfig, ResizeDiskConfig};
pub use check_images::Images;
pub(crate) use check_numa::LOCAL_DISTANCE;
pub use check_numa::MAX_NUMA_NODES;
pub use console::{ConsoleConfig, ConsoleMode};
pub use cpus::{CpuTopology, CpusConfig};
pub use disk::{DiskConfig, ImageType};
pub use error::{ConfigError, Invalid, JsonError, OptionError, OptionProblem};
pub use ids::{MEMORY_DEVICE, WATCHDOG_ID};
pub use link_url::{LinkUrl, file_url, link_url};
pub use mac::{MacAddr, NotAMacAddr};
pub use memory::{HotplugMethod, MemoryConfig};
pub use net::NetConfig;
pub use net_fds::NetFds;
pub use numa::{NumaConfig, NumaDistance};
pub use payload::PayloadConfig;
pub use rate_limit::{RateLimiterConfig, TokenBucket};
pub use rng::RngConfig;
pub use transfer::{
    MAX_CONNECTIONS, MemoryMode, MemoryRestoreMode, PageCompression, ReceiveMigrationConfig,
    Resolution, ResolveConfig, RestoreConfig, SendMigrationConfig, SnapshotConfig, TimeoutStrategy,
};
pub use validate::{MAX_HOST_CPU, MAX_MEMORY, MAX_VCPUS, MIN_MEMORY};
pub use values::{parse_size, print_size};
pub use vsock::VsockConfig;
pub use zones::{DEFAULT_ZONE, MemoryZoneConfig};

use serde::{Deserialize, Serialize};

/// A whole VM, as `vm.create` takes it and `vm.info` shows it.
///
/// The shape is `VmConfig` of Cloud Hypervisor's OpenAPI description
/// (`vmm/src/api/openapi/cloud-hypervisor.yaml`), reduced to what exists here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmConfig {
    /// vCPUs and their topology.
    pub cpus: CpusConfig,
    /// Guest RAM.
    pub memory: MemoryConfig,
    /// NUMA nodes; without any, the guest is told of none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<NumaConfig>,
    /// What to boot; without a kernel, the embedded guest.
    pub payload: PayloadConfig,
    /// Disks, in the order in which the guest finds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskConfig>,
    /// Network devices, in the order in which the guest finds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetConfig>,
    /// A source of entropy. None when not given: Linux seeds itself from the boot parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rng: Option<RngConfig>,
    /// Sockets between guest and host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock: Option<VsockConfig>,
    /// Memory that the guest gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balloon: Option<BalloonConfig>,
    /// The serial port (COM1, I/O port 0x3F8, `ttyS0` in Linux). `Null` when not given.
    pub serial: ConsoleConfig,
    /// The virtio console (`hvc0` in Linux). `Off` when not given.
    pub console: ConsoleConfig,
    /// The device by which a guest tells that its kernel panicked.
    pub pvpanic: bool,
    /// The device that resets a guest which leaves it alone for too long.
    pub watchdog: bool,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            cpus: CpusConfig::default(),
            memory: MemoryConfig::default(),
            numa: Vec::new(),
            payload: PayloadConfig::default(),
            disks: Vec::new(),
            net: Vec::new(),
            rng: None,
            vsock: None,
            balloon: None,
            serial: ConsoleConfig::of_mode(ConsoleMode::Null),
            console: ConsoleConfig::of_mode(ConsoleMode::Off),
            pvpanic: false,
            watchdog: false,
        }
    }
}
