//! Which vCPUs share which cache: Intel's leaf 4 and AMD's leaf 0x8000_001D, which have the
//! same fields where this module touches them.
//!
//! Sizes and ways stay the host's; sharing follows the guest's topology: the first two levels
//! belong to a core, the third to a die. Counts are powers of two, as the fields of the APIC id
//! are, because software finds the sharers by shifting APIC ids.

use core::arch::x86_64::CpuidResult;

use kvm_bindings::kvm_cpuid_entry2;

use super::Topology;
use super::leaves::{self, Vendor};

/// More caches than any processor lists; ends the walk over a host that never says "no more".
const MAX_CACHES: u32 = 16;

/// Reads one leaf and index of the host's processor.
pub(super) type HostCpuid<'a> = &'a dyn Fn(u32, u32) -> CpuidResult;

/// Makes the cache leaves of `entries` fit `topology`.
pub(super) fn apply(
    entries: &mut Vec<kvm_cpuid_entry2>,
    vendor: Vendor,
    topology: &Topology,
    host: HostCpuid<'_>,
) {
    let leaf = match vendor {
        Vendor::Intel => leaves::CACHES_INTEL,
        Vendor::Amd => {
            take_host_caches(entries, host);
            leaves::CACHES_AMD
        }
    };
    for entry in entries.iter_mut().filter(|entry| entry.function == leaf && kind(entry.eax) != 0) {
        let shared_bits =
            if level(entry.eax) <= 2 { topology.core_shift() } else { topology.die_shift() };
        entry.eax = leaves::with_field(entry.eax, 14, 12, (1 << shared_bits) - 1);
        if vendor == Vendor::Intel {
            let core_bits = topology.package_shift() - topology.core_shift();
            entry.eax = leaves::with_field(entry.eax, 26, 6, (1 << core_bits) - 1);
        }
    }
}

/// KVM does not fill AMD's cache leaf; what the host's processor says stands in for it.
fn take_host_caches(entries: &mut Vec<kvm_cpuid_entry2>, host: HostCpuid<'_>) {
    let has_topoext = leaves::find(entries, leaves::EXTENDED_FEATURES, 0)
        .is_some_and(|entry| entry.ecx & leaves::ECX_TOPOEXT != 0);
    let filled = leaves::find(entries, leaves::CACHES_AMD, 0).is_some_and(|e| kind(e.eax) != 0);
    if !has_topoext || filled {
        return;
    }
    entries.retain(|entry| entry.function != leaves::CACHES_AMD);
    for index in 0..MAX_CACHES {
        let CpuidResult { eax, ebx, ecx, edx } = host(leaves::CACHES_AMD, index);
        if kind(eax) == 0 {
            // The guest's walk ends at this one, too.
            entries.push(leaves::indexed(leaves::CACHES_AMD, index));
            break;
        }
        let entry = leaves::indexed(leaves::CACHES_AMD, index);
        entries.push(kvm_cpuid_entry2 { eax, ebx, ecx, edx, ..entry });
    }
}

/// Cache type: 0 none, 1 data, 2 instruction, 3 unified.
fn kind(eax: u32) -> u32 {
    eax & 0x1F
}

fn level(eax: u32) -> u32 {
    eax >> 5 & 7
}
