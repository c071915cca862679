//! vCPUs: `--cpus boot=4,max=8,topology=2:2:1:2,affinity=[0@[0-3]]`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::affinity::{self, CpuAffinity};
use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options};
use super::unsupported::Section;
use super::values::parse_integer;

/// vCPUs and their topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpusConfig {
    /// vCPUs online at boot, at least 1. A resize changes it: the next boot has as many.
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
#[serde(deny_unknown_fields)]
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

impl CpuTopology {
    /// How many vCPUs it describes.
    pub fn vcpus(&self) -> u64 {
        [self.threads_per_core, self.cores_per_die, self.dies_per_package, self.packages]
            .into_iter()
            .map(u64::from)
            // Four 16-bit factors cannot overflow 64 bits.
            .product()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(parse_integer::<u16>);
        let topology = Self {
            threads_per_core: parts.next()??,
            cores_per_die: parts.next()??,
            dies_per_package: parts.next()??,
            packages: parts.next()??,
        };
        parts.next().is_none().then_some(topology)
    }
}

impl fmt::Display for CpuTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads_per_core, cores_per_die, dies_per_package, packages } = self;
        write!(f, "{threads_per_core}:{cores_per_die}:{dies_per_package}:{packages}")
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--cpus",
    allowed: Allowed { keys: &["boot", "max", "topology", "affinity"], flags: &[] },
    section: Section::Cpus,
};

impl FromStr for CpusConfig {
    type Err = ConfigError;

    /// Without `boot`, one vCPU; without `max`, as many as `boot`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let options = Options::parse(&GRAMMAR, text)?;
        let boot_vcpus = options.value("boot", "a number of vCPUs", parse_integer)?.unwrap_or(1);
        Ok(Self {
            boot_vcpus,
            max_vcpus: options
                .value("max", "a number of vCPUs", parse_integer)?
                .unwrap_or(boot_vcpus),
            topology: options.value(
                "topology",
                "threads:cores:dies:packages, such as 2:4:1:1",
                CpuTopology::parse,
            )?,
            affinity: options
                .structured("affinity", affinity::EXPECTED, affinity::parse)?
                .unwrap_or_default(),
        })
    }
}

impl fmt::Display for CpusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot={},max={}", self.boot_vcpus, self.max_vcpus)?;
        if let Some(topology) = self.topology {
            write!(f, ",topology={topology}")?;
        }
        if !self.affinity.is_empty() {
            let tuples: Vec<_> = self.affinity.iter().map(CpuAffinity::to_string).collect();
            write!(f, ",affinity=[{}]", tuples.join(","))?;
        }
        Ok(())
    }
}
