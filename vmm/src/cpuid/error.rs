//! What can be wrong with a topology or a CPUID table.

use thiserror::Error;

/// Why a vCPU configuration is no topology.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// No vCPU at all.
    #[error("boot vCPUs: 0; a VM needs at least 1")]
    NoVcpu,
    /// More vCPUs at boot than at most.
    #[error("boot vCPUs: {boot}, but max is {max}; max must be at least boot")]
    MaxBelowBoot {
        /// vCPUs at boot.
        boot: u32,
        /// vCPUs at most.
        max: u32,
    },
    /// A level of the topology with nothing in it.
    #[error("topology: {level} is 0; every level needs at least 1")]
    EmptyLevel {
        /// The level's name in the configuration.
        level: &'static str,
    },
    /// The levels don't multiply to the number of vCPUs.
    #[error(
        "topology: threads:cores:dies:packages multiply to {product}, but max vCPUs is {max}; \
         they must be equal"
    )]
    Product {
        /// What the levels multiply to.
        product: u64,
        /// vCPUs at most.
        max: u32,
    },
    /// More vCPUs than KVM takes.
    #[error("max vCPUs: {max}; this host's KVM allows at most {limit} in a VM")]
    TooMany {
        /// vCPUs at most.
        max: u32,
        /// KVM's limit.
        limit: u32,
    },
    /// The APIC ids of the topology outgrow the ids that KVM takes.
    #[error(
        "topology: its highest APIC id is {highest}; this host's KVM allows ids below {limit} \
         (every level takes a power of two of ids)"
    )]
    ApicIdTooBig {
        /// The highest APIC id.
        highest: u64,
        /// KVM's limit.
        limit: u32,
    },
    /// The vCPU is none of this VM's.
    #[error("vCPU {vcpu} does not exist; the VM has at most {max}")]
    NoSuchVcpu {
        /// Its index.
        vcpu: u32,
        /// vCPUs at most.
        max: u32,
    },
}

/// Why a CPUID table could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CpuidError {
    /// What KVM supports has no leaf 1: not the table of an x86 processor.
    #[error("KVM's supported CPUID table lacks leaf {leaf:#x}")]
    MissingLeaf {
        /// The leaf.
        leaf: u32,
    },
    /// More entries than KVM takes.
    #[error("the CPUID table grew past the {limit} entries that KVM takes")]
    TooManyEntries {
        /// KVM's limit.
        limit: usize,
    },
    /// The topology is at fault.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}
