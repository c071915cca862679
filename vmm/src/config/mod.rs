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
mod console;
mod cpus;
mod error;
mod json;
mod memory;
mod nearest;
mod options;
mod payload;
mod strict;
mod unsupported;
mod validate;
mod values;

pub use affinity::CpuAffinity;
pub use console::{ConsoleConfig, ConsoleMode};
pub use cpus::{CpuTopology, CpusConfig};
pub use error::{ConfigError, Invalid, JsonError, OptionError, OptionProblem};
pub use memory::MemoryConfig;
pub use payload::PayloadConfig;
pub use validate::{MAX_HOST_CPU, MAX_MEMORY, MAX_VCPUS, MIN_MEMORY};
pub use values::{parse_size, print_size};

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
    /// What to boot; without a kernel, the embedded guest.
    pub payload: PayloadConfig,
    /// The first serial port (COM1, I/O port 0x3F8, `ttyS0` in Linux). `Null` when not given.
    pub serial: ConsoleConfig,
    /// The second console: a second serial port (COM2, I/O port 0x2F8, `ttyS1` in Linux), until
    /// there is a virtio console. `Off` when not given.
    pub console: ConsoleConfig,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            cpus: CpusConfig::default(),
            memory: MemoryConfig::default(),
            payload: PayloadConfig::default(),
            serial: ConsoleConfig::of_mode(ConsoleMode::Null),
            console: ConsoleConfig::of_mode(ConsoleMode::Off),
        }
    }
}
