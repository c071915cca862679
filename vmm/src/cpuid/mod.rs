//! What CPUID tells each vCPU.
//!
//! ```text
//!  KVM_GET_SUPPORTED_CPUID ──> Template::new ──> for_vcpu(0) ──> KVM_SET_CPUID2
//!                                   ▲            for_vcpu(1) ──> …
//!                Topology ──────────┘
//! ```
//!
//! The template starts from what KVM can virtualise, and changes only what KVM leaves to user
//! space: the topology leaves, the cache leaves' sharing fields, the APIC ids, and the feature
//! bits that depend on capabilities. The paravirtual leaves (0x4000_0000…) stay as KVM made them.
//!
//! Invariants:
//! - there is one mapping from vCPU index to APIC id, [`Topology::apic_id`]; CPUID, the ACPI
//!   tables and `KVM_CREATE_VCPU` (whose id *is* the APIC id) all use it;
//! - every leaf that speaks of topology says the same.
mod caches;
mod error;
mod leaves;
mod offer;
mod template;
mod topology;

pub use error::{CpuidError, TopologyError};
pub use offer::check_offer;
pub use template::{
    LEAST_ADDRESS_BITS, MsiDestination, Template, TscDeadline, physical_address_bits,
};
pub use topology::{ApicId, Place, Topology};
