//! What a VM is made of: the JSON shapes of Cloud Hypervisor's `VmConfig`, which the
//! command-line options are parsed into as well.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A whole VM, as `vm.create` takes it and `vm.info` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmConfig {
    /// vCPUs and their topology.
    pub cpus: CpusConfig,
    /// Guest RAM.
    pub memory: MemoryConfig,
    /// What to boot; without a kernel, the embedded guest.
    pub payload: PayloadConfig,
    /// The first serial port (COM1, 0x3F8).
    pub serial: ConsoleConfig,
    /// The second console.
    pub console: ConsoleConfig,
}

/// vCPUs and their topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpusConfig {
    /// vCPUs online at boot, at least 1.
    pub boot_vcpus: u32,
    /// vCPUs that the VM may grow to, at least `boot_vcpus`.
    pub max_vcpus: u32,
    /// Threads, cores, dies, packages; without it, one package of single-threaded cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<CpuTopology>,
    /// Host CPUs that single vCPUs are pinned to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<CpuAffinity>,
}

impl Default for CpusConfig {
    fn default() -> Self {
        Self { boot_vcpus: 1, max_vcpus: 1, topology: None, affinity: Vec::new() }
    }
}

/// `topology=threads:cores:dies:packages`; the product equals `max_vcpus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTopology {
    /// Threads in a core.
    pub threads_per_core: u16,
    /// Cores in a die.
    pub cores_per_die: u16,
    /// Dies in a package.
    pub dies_per_package: u16,
    /// Packages.
    pub packages: u16,
}

/// The host CPUs that one vCPU may run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuAffinity {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// Host CPU numbers.
    pub host_cpus: Vec<usize>,
}

/// Guest RAM; always a memfd mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryConfig {
    /// Bytes.
    pub size: u64,
    /// Map it shared, so that another process can map the same memfd.
    pub shared: bool,
    /// Back it with huge pages.
    pub hugepages: bool,
    /// Size of a huge page in bytes; without it, the host's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepage_size: Option<u64>,
    /// Fault every page in before the VM boots.
    pub prefault: bool,
    /// Ask for transparent huge pages.
    pub thp: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            size: 512 << 20,
            shared: false,
            hugepages: false,
            hugepage_size: None,
            prefault: false,
            thp: true,
        }
    }
}

/// What to boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PayloadConfig {
    /// bzImage or ELF vmlinux; without it, the embedded guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<PathBuf>,
    /// Kernel command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
}

/// Where a console's host side goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleMode {
    /// No device.
    #[default]
    Off,
    /// A device whose output is thrown away.
    Null,
    /// The terminal that the VMM runs on.
    Tty,
    /// A new pseudo-terminal, whose path `vm.info` tells.
    Pty,
    /// A file that output is appended to.
    File,
    /// A Unix socket that clients connect to.
    Socket,
}

/// One console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleConfig {
    /// Where the host side goes.
    pub mode: ConsoleMode,
    /// For `File`, the file to write; for `Pty`, the pseudo-terminal that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// For `Socket`, the socket to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}
