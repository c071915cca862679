//! Numbers of CPUID leaves and bits, and finding them in KVM's table.
//!
//! Sources: Intel SDM volume 2A (CPUID), AMD APM volume 3 appendix E, and Linux
//! `Documentation/virt/kvm/x86/cpuid.rst` for the paravirtual ones.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Highest basic leaf and the vendor.
pub(super) const VENDOR: u32 = 0;
/// Family, features, initial APIC id.
pub(super) const FEATURES: u32 = 1;
/// Deterministic cache parameters (Intel).
pub(super) const CACHES_INTEL: u32 = 4;
/// Extended topology.
pub(super) const TOPOLOGY: u32 = 0xB;
/// Extended topology that knows dies.
pub(super) const TOPOLOGY_V2: u32 = 0x1F;
/// KVM's paravirtual features.
pub(super) const KVM_FEATURES: u32 = 0x4000_0001;
/// Highest extended leaf.
pub(super) const EXTENDED: u32 = 0x8000_0000;
/// More features (AMD's multi-core ones among them).
pub(super) const EXTENDED_FEATURES: u32 = 0x8000_0001;
/// Address widths; on AMD also the package's size.
pub(super) const ADDRESS_WIDTHS: u32 = 0x8000_0008;
/// Cache topology (AMD).
pub(super) const CACHES_AMD: u32 = 0x8000_001D;
/// Processor topology (AMD).
pub(super) const TOPOLOGY_AMD: u32 = 0x8000_001E;
/// Extended topology (AMD, Zen 4 and later).
pub(super) const TOPOLOGY_AMD_V2: u32 = 0x8000_0026;

/// Leaf 1 ECX: x2APIC.
pub(super) const ECX_X2APIC: u32 = 1 << 21;
/// Leaf 1 ECX: the local APIC timer has a TSC deadline mode.
pub(super) const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: a hypervisor is present.
pub(super) const ECX_HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: the package has more than one logical processor.
pub(super) const EDX_HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001 ECX: HTT means cores, not threads (AMD).
pub(super) const ECX_CMP_LEGACY: u32 = 1 << 1;
/// Leaf 0x8000_0001 ECX: leaves 0x8000_001D and 0x8000_001E exist (AMD).
pub(super) const ECX_TOPOEXT: u32 = 1 << 22;
/// Leaf 0x4000_0001 EAX: MSI addresses carry 15 bits of destination.
pub(super) const EAX_MSI_EXT_DEST_ID: u32 = 1 << 15;

/// Who made the processor, as far as topology leaves differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    /// AMD, and Hygon, which follows it.
    Amd,
    /// Intel, and everybody else.
    Intel,
}

impl Vendor {
    /// The maker that leaf 0 names.
    pub(super) fn of(entries: &[kvm_cpuid_entry2]) -> Self {
        let Some(leaf) = find(entries, VENDOR, 0) else { return Self::Intel };
        let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat();
        match name.as_slice() {
            b"AuthenticAMD" | b"HygonGenuine" => Self::Amd,
            _ => Self::Intel,
        }
    }
}

/// The processor's family, with the extended part that counts when the base is 15.
pub(super) fn family(entries: &[kvm_cpuid_entry2]) -> u32 {
    let signature = find(entries, FEATURES, 0).map_or(0, |entry| entry.eax);
    match signature >> 8 & 0xF {
        0xF => 0xF + (signature >> 20 & 0xFF),
        base => base,
    }
}

/// The entry of `leaf` and `index`.
pub(super) fn find(
    entries: &[kvm_cpuid_entry2],
    leaf: u32,
    index: u32,
) -> Option<&kvm_cpuid_entry2> {
    entries.iter().find(|entry| entry.function == leaf && entry.index == index)
}

/// The entry of `leaf`, first index, to change.
pub(super) fn find_mut(
    entries: &mut [kvm_cpuid_entry2],
    leaf: u32,
) -> Option<&mut kvm_cpuid_entry2> {
    entries.iter_mut().find(|entry| entry.function == leaf && entry.index == 0)
}

/// An empty entry of a leaf that has an index.
pub(super) fn indexed(leaf: u32, index: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: leaf,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        ..kvm_cpuid_entry2::default()
    }
}

/// `value` with the bits `shift..shift + width` replaced by `field`, which is cut to the
/// largest number that fits, as CPUID does with counts.
pub(super) fn with_field(value: u32, shift: u32, width: u32, field: u32) -> u32 {
    let most = (1 << width) - 1;
    value & !(most << shift) | field.min(most) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_from_15_on_are_extended() {
        let with = |eax| [kvm_cpuid_entry2 { eax, ..indexed(FEATURES, 0) }];
        assert_eq!(family(&with(0x0080_0F12)), 0x17);
        assert_eq!(family(&with(0x000A_06A6)), 6);
        assert_eq!(family(&[]), 0);
    }

    #[test]
    fn fields_saturate_and_leave_their_neighbours() {
        assert_eq!(with_field(0xFFFF_FFFF, 8, 8, 3), 0xFFFF_03FF);
        assert_eq!(with_field(0, 26, 6, 200), 63 << 26);
    }
}
