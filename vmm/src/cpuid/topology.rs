//! Threads, cores, dies and packages, and the APIC ids that encode them.
//!
//! An APIC id is a row of bit fields, one a level, each as wide as its level needs
//! (Intel SDM volume 3, 9.9 "Deriving topology"; AMD APM volume 3, appendix E.5):
//!
//! ```text
//!   31                                            0
//!   [ package | die | core in die | thread in core ]
//! ```
//!
//! Software takes the fields apart with shifts, so a level of 3 takes 2 bits and leaves a gap.

use std::fmt;

use super::TopologyError;
use crate::config::{CpuTopology, CpusConfig};

/// An x2APIC id; below 255 also the xAPIC id. KVM's vCPU id is the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApicId(pub u32);

impl ApicId {
    /// Ids from here on exist in x2APIC mode only: 255 is the xAPIC broadcast.
    pub const FIRST_X2APIC_ONLY: Self = Self(255);

    /// The id in xAPIC mode, where there is one.
    pub fn xapic(self) -> Option<u8> {
        (self < Self::FIRST_X2APIC_ONLY).then(|| self.low_byte())
    }

    /// The low byte, as CPUID leaf 1 tells it.
    pub fn low_byte(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

impl fmt::Display for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a vCPU sits. Every number counts within the level above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Thread in its core.
    pub thread: u32,
    /// Core in its die.
    pub core: u32,
    /// Die in its package.
    pub die: u32,
    /// Package.
    pub package: u32,
}

/// A checked topology: levels of at least 1 that multiply to the number of vCPUs, with APIC ids
/// of at most 31 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    threads: u32,
    cores: u32,
    dies: u32,
    packages: u32,
}

impl Topology {
    /// The topology of `cpus`; without one, a package of `max_vcpus` single-threaded cores.
    pub fn new(cpus: &CpusConfig) -> Result<Self, TopologyError> {
        let CpusConfig { boot_vcpus: boot, max_vcpus: max, .. } = *cpus;
        if boot == 0 {
            return Err(TopologyError::NoVcpu);
        }
        if max < boot {
            return Err(TopologyError::MaxBelowBoot { boot, max });
        }
        let topology = match cpus.topology {
            None => Self { threads: 1, cores: max, dies: 1, packages: 1 },
            Some(levels) => Self::from_levels(levels, max)?,
        };
        let highest = topology.highest_id();
        if highest > u64::from(u32::MAX >> 1) {
            return Err(TopologyError::ApicIdTooBig { highest, limit: 1 << 31 });
        }
        Ok(topology)
    }

    fn from_levels(levels: CpuTopology, max: u32) -> Result<Self, TopologyError> {
        let named = [
            ("threads_per_core", levels.threads_per_core),
            ("cores_per_die", levels.cores_per_die),
            ("dies_per_package", levels.dies_per_package),
            ("packages", levels.packages),
        ];
        if let Some((level, _)) = named.into_iter().find(|&(_, count)| count == 0) {
            return Err(TopologyError::EmptyLevel { level });
        }
        // Four 16-bit numbers multiply within 64 bits.
        let product = named.into_iter().map(|(_, count)| u64::from(count)).product();
        if product != u64::from(max) {
            return Err(TopologyError::Product { product, max });
        }
        let [threads, cores, dies, packages] = named.map(|(_, count)| u32::from(count));
        Ok(Self { threads, cores, dies, packages })
    }

    /// Checks the topology against KVM: `max_vcpus` is `KVM_CAP_MAX_VCPUS`, `max_vcpu_ids` is
    /// `KVM_CAP_MAX_VCPU_ID` (ids are below it).
    pub fn check_limits(&self, max_vcpus: u32, max_vcpu_ids: u32) -> Result<(), TopologyError> {
        let max = self.vcpus();
        if max > max_vcpus {
            return Err(TopologyError::TooMany { max, limit: max_vcpus });
        }
        let highest = self.highest_id();
        if highest >= u64::from(max_vcpu_ids) {
            return Err(TopologyError::ApicIdTooBig { highest, limit: max_vcpu_ids });
        }
        Ok(())
    }

    /// vCPUs that the VM has at most.
    pub fn vcpus(&self) -> u32 {
        self.threads * self.cores * self.dies * self.packages
    }

    /// Where vCPU `index` sits: threads of a core are neighbours, then cores, dies, packages.
    pub fn place(&self, index: u32) -> Result<Place, TopologyError> {
        let max = self.vcpus();
        if index >= max {
            return Err(TopologyError::NoSuchVcpu { vcpu: index, max });
        }
        let (core, thread) = (index / self.threads, index % self.threads);
        let (die, core) = (core / self.cores, core % self.cores);
        let (package, die) = (die / self.dies, die % self.dies);
        Ok(Place { thread, core, die, package })
    }

    /// The APIC id of vCPU `index`. Ids are unique and rise with the index.
    pub fn apic_id(&self, index: u32) -> Result<ApicId, TopologyError> {
        let Place { thread, core, die, package } = self.place(index)?;
        Ok(ApicId(
            package << self.package_shift()
                | die << self.die_shift()
                | core << self.core_shift()
                | thread,
        ))
    }

    /// The APIC id of the last vCPU, the highest of all.
    pub fn max_apic_id(&self) -> ApicId {
        // `new` has seen that it is below 2^31.
        ApicId(u32::try_from(self.highest_id()).unwrap_or(u32::MAX))
    }

    /// Threads in a core.
    pub fn threads_per_core(&self) -> u32 {
        self.threads
    }

    /// Cores in a die.
    pub fn cores_per_die(&self) -> u32 {
        self.cores
    }

    /// Dies in a package.
    pub fn dies_per_package(&self) -> u32 {
        self.dies
    }

    /// Packages.
    pub fn packages(&self) -> u32 {
        self.packages
    }

    /// vCPUs in a package.
    pub fn vcpus_per_package(&self) -> u32 {
        self.threads * self.cores * self.dies
    }

    /// Bits of the APIC id below the core's field: ids that differ only there share a core.
    pub fn core_shift(&self) -> u32 {
        width(self.threads)
    }

    /// Bits of the APIC id below the die's field: ids that differ only there share a die.
    pub fn die_shift(&self) -> u32 {
        self.core_shift() + width(self.cores)
    }

    /// Bits of the APIC id below the package's field: ids that differ only there share a package.
    pub fn package_shift(&self) -> u32 {
        self.die_shift() + width(self.dies)
    }

    /// In 64 bits, as a topology that is being checked may not fit 32.
    fn highest_id(&self) -> u64 {
        let field = |count: u32, shift: u32| {
            u64::from(count - 1).checked_shl(shift).unwrap_or(u64::MAX >> 2)
        };
        field(self.packages, self.package_shift())
            | field(self.dies, self.die_shift())
            | field(self.cores, self.core_shift())
            | field(self.threads, 0)
    }
}

/// Bits that number `count` things.
fn width(count: u32) -> u32 {
    u32::BITS - (count - 1).leading_zeros()
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
