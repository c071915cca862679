//! The CPUID table that all vCPUs of a VM share, and each vCPU's own copy of it.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};

use super::caches::{self, HostCpuid};
use super::leaves::{self, Vendor};
use super::{ApicId, CpuidError, Place, Topology};

/// The first family whose leaf 0x8000_001E speaks of threads and cores; in the ones before it,
/// the same fields speak of compute units.
const FIRST_ZEN: u32 = 0x17;

/// Whether the in-kernel local APIC has the TSC deadline timer (`KVM_CAP_TSC_DEADLINE_TIMER`);
/// KVM's supported table does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TscDeadline {
    /// The capability is there.
    Available,
    /// It is not.
    Missing,
}

/// How many bits of destination an MSI address carries.
///
/// Without IRQ remapping, Linux starts a vCPU with an APIC id over 254 only if an MSI can reach
/// it, which `KVM_FEATURE_MSI_EXT_DEST_ID` promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsiDestination {
    /// 8 bits: the architecture's format.
    Bits8,
    /// 15 bits: the VMM has enabled `KVM_CAP_X2APIC_API` with 32-bit ids, and moves address bits
    /// 11:5 to destination bits 14:8 in the MSI routes that it sets.
    Bits15,
}

/// The VM's CPUID table, complete but for what differs from vCPU to vCPU.
#[derive(Clone, Debug)]
pub struct Template {
    entries: Vec<kvm_cpuid_entry2>,
    topology: Topology,
}

impl Template {
    /// Fits `supported`, the answer of `KVM_GET_SUPPORTED_CPUID`, to the VM.
    pub fn new(
        supported: &CpuId,
        topology: Topology,
        deadline: TscDeadline,
        msi: MsiDestination,
    ) -> Result<Self, CpuidError> {
        Self::with_host(supported, topology, deadline, msi, &|leaf, index| {
            core::arch::x86_64::__cpuid_count(leaf, index)
        })
    }

    fn with_host(
        supported: &CpuId,
        topology: Topology,
        deadline: TscDeadline,
        msi: MsiDestination,
        host: HostCpuid<'_>,
    ) -> Result<Self, CpuidError> {
        let mut entries = supported.as_slice().to_vec();
        let vendor = Vendor::of(&entries);
        // These tell of the host's topology; the first two are made anew for each vCPU.
        entries.retain(|entry| {
            !matches!(
                entry.function,
                leaves::TOPOLOGY | leaves::TOPOLOGY_V2 | leaves::TOPOLOGY_AMD_V2
            )
        });
        set_features(&mut entries, &topology, deadline)?;
        if vendor == Vendor::Amd {
            set_package_size(&mut entries, &topology);
            announce_amd_topology(&mut entries);
        }
        set_msi_destination(&mut entries, msi);
        caches::apply(&mut entries, vendor, &topology, host);
        let template = Self { entries: neutral(entries), topology };
        // The last vCPU's table is as long as anyone's: find out now that it fits.
        template.for_vcpu(topology.vcpus() - 1)?;
        Ok(template)
    }

    /// The table of vCPU `index`, for `KVM_SET_CPUID2`.
    pub fn for_vcpu(&self, index: u32) -> Result<CpuId, CpuidError> {
        let id = self.topology.apic_id(index)?;
        let place = self.topology.place(index)?;
        let mut entries = self.entries.clone();
        if let Some(features) = leaves::find_mut(&mut entries, leaves::FEATURES) {
            features.ebx = leaves::with_field(features.ebx, 24, 8, u32::from(id.low_byte()));
        }
        if let Some(topology) = leaves::find_mut(&mut entries, leaves::TOPOLOGY_AMD) {
            self.fill_amd_topology(topology, id, place);
        }
        entries.extend(self.topology_leaf(id));
        if self.has_topology_v2() {
            entries.extend(self.topology_v2_leaf(id));
        }
        CpuId::from_entries(&entries)
            .map_err(|_| CpuidError::TooManyEntries { limit: KVM_MAX_CPUID_ENTRIES })
    }

    /// All that does not differ from vCPU to vCPU.
    pub fn entries(&self) -> &[kvm_cpuid_entry2] {
        &self.entries
    }

    /// The same topology, and these entries for the rest.
    ///
    /// # Errors
    /// They are too many.
    pub fn with_entries(&self, entries: Vec<kvm_cpuid_entry2>) -> Result<Self, CpuidError> {
        let template = Self { entries: neutral(entries), topology: self.topology };
        template.for_vcpu(self.topology.vcpus() - 1)?;
        Ok(template)
    }

    /// The topology that the table tells of.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Leaf 0x1F is needed for dies, and must not be missing where leaf 0 says it is there.
    fn has_topology_v2(&self) -> bool {
        leaves::find(&self.entries, leaves::VENDOR, 0)
            .is_some_and(|leaf| leaf.eax >= leaves::TOPOLOGY_V2)
    }

    fn topology_leaf(&self, id: ApicId) -> [kvm_cpuid_entry2; 3] {
        let t = &self.topology;
        [
            level(leaves::TOPOLOGY, 0, Kind::Smt, (t.core_shift(), t.threads_per_core()), id),
            level(leaves::TOPOLOGY, 1, Kind::Core, (t.package_shift(), t.vcpus_per_package()), id),
            level(leaves::TOPOLOGY, 2, Kind::Invalid, (0, 0), id),
        ]
    }

    fn topology_v2_leaf(&self, id: ApicId) -> Vec<kvm_cpuid_entry2> {
        let t = &self.topology;
        let leaf = leaves::TOPOLOGY_V2;
        let per_die = t.threads_per_core() * t.cores_per_die();
        let mut levels = vec![
            level(leaf, 0, Kind::Smt, (t.core_shift(), t.threads_per_core()), id),
            level(leaf, 1, Kind::Core, (t.die_shift(), per_die), id),
        ];
        if t.dies_per_package() > 1 {
            let die = (t.package_shift(), t.vcpus_per_package());
            levels.push(level(leaf, 2, Kind::Die, die, id));
        }
        let end = if t.dies_per_package() > 1 { 3 } else { 2 };
        levels.push(level(leaf, end, Kind::Invalid, (0, 0), id));
        levels
    }

    /// APM volume 3, E.4.17: extended APIC id; core and threads; node and nodes. A die is a node.
    fn fill_amd_topology(&self, entry: &mut kvm_cpuid_entry2, id: ApicId, place: Place) {
        let t = &self.topology;
        let core_in_package = place.die * t.cores_per_die() + place.core;
        let node = place.package * t.dies_per_package() + place.die;
        entry.eax = id.0;
        // The core's id is a number, not a count: it wraps where 8 bits end.
        entry.ebx = leaves::with_field(core_in_package & 0xFF, 8, 8, t.threads_per_core() - 1);
        entry.ecx = leaves::with_field(node & 0xFF, 8, 3, t.dies_per_package() - 1);
        entry.edx = 0;
    }
}

/// The table without what [`Template::for_vcpu`] fills in: KVM leaves there what the processor tells that it was asked on, so that two tables of one
/// host would differ by chance.
fn neutral(mut entries: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
    if let Some(features) = leaves::find_mut(&mut entries, leaves::FEATURES) {
        features.ebx = leaves::with_field(features.ebx, 24, 8, 0);
    }
    if let Some(topology) = leaves::find_mut(&mut entries, leaves::TOPOLOGY_AMD) {
        (topology.eax, topology.ebx, topology.ecx, topology.edx) = (0, 0, 0, 0);
    }
    entries
}

/// Physical address bits of a processor that does not say how many it has (Intel SDM, volume 3, section
/// 4.1.4). None that runs KVM has fewer.
pub const LEAST_ADDRESS_BITS: u8 = 36;

/// Physical address bits of the guest's processors, which bound its RAM.
pub fn physical_address_bits(supported: &CpuId) -> u8 {
    leaves::find(supported.as_slice(), leaves::ADDRESS_WIDTHS, 0)
        .map_or(LEAST_ADDRESS_BITS, |entry| entry.eax.to_le_bytes()[0])
}

/// Level types of leaves 0xB and 0x1F.
#[derive(Clone, Copy)]
enum Kind {
    Invalid = 0,
    Smt = 1,
    Core = 2,
    Die = 5,
}

/// One level: the APIC id's shift to the next one, and the logical processors on this one.
fn level(
    leaf: u32,
    index: u32,
    kind: Kind,
    (shift, count): (u32, u32),
    id: ApicId,
) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        eax: shift,
        ebx: count.min(0xFFFF),
        ecx: index | (kind as u32) << 8,
        edx: id.0,
        ..leaves::indexed(leaf, index)
    }
}

fn set_features(
    entries: &mut [kvm_cpuid_entry2],
    topology: &Topology,
    deadline: TscDeadline,
) -> Result<(), CpuidError> {
    let vendor = leaves::find_mut(entries, leaves::VENDOR)
        .ok_or(CpuidError::MissingLeaf { leaf: leaves::VENDOR })?;
    let needed =
        if topology.dies_per_package() > 1 { leaves::TOPOLOGY_V2 } else { leaves::TOPOLOGY };
    vendor.eax = vendor.eax.max(needed);

    let features = leaves::find_mut(entries, leaves::FEATURES)
        .ok_or(CpuidError::MissingLeaf { leaf: leaves::FEATURES })?;
    features.ecx |= leaves::ECX_X2APIC | leaves::ECX_HYPERVISOR;
    match deadline {
        TscDeadline::Available => features.ecx |= leaves::ECX_TSC_DEADLINE,
        TscDeadline::Missing => features.ecx &= !leaves::ECX_TSC_DEADLINE,
    }
    // EBX 23:16 numbers the ids that the package has room for: a power of two.
    features.ebx = leaves::with_field(features.ebx, 16, 8, 1 << topology.package_shift());
    match topology.vcpus_per_package() {
        1 => features.edx &= !leaves::EDX_HTT,
        _ => features.edx |= leaves::EDX_HTT,
    }
    Ok(())
}

/// AMD tells the package's size in leaves of its own (APM volume 3, E.4.7 and E.4.2).
fn set_package_size(entries: &mut [kvm_cpuid_entry2], topology: &Topology) {
    if let Some(widths) = leaves::find_mut(entries, leaves::ADDRESS_WIDTHS) {
        widths.ecx = leaves::with_field(widths.ecx, 0, 8, topology.vcpus_per_package() - 1);
        widths.ecx = leaves::with_field(widths.ecx, 12, 4, topology.package_shift());
    }
    if let Some(extended) = leaves::find_mut(entries, leaves::EXTENDED_FEATURES) {
        match topology.vcpus_per_package() {
            1 => extended.ecx &= !leaves::ECX_CMP_LEGACY,
            _ => extended.ecx |= leaves::ECX_CMP_LEGACY,
        }
    }
}

/// Without TOPOEXT, Linux takes every thread of an AMD processor for a core. KVM does not always
/// list the bit, but needs to do nothing for it: the leaves are all that there is to it.
fn announce_amd_topology(entries: &mut Vec<kvm_cpuid_entry2>) {
    if leaves::family(entries) < FIRST_ZEN {
        return;
    }
    let Some(extended) = leaves::find_mut(entries, leaves::EXTENDED) else { return };
    extended.eax = extended.eax.max(leaves::TOPOLOGY_AMD);
    if let Some(features) = leaves::find_mut(entries, leaves::EXTENDED_FEATURES) {
        features.ecx |= leaves::ECX_TOPOEXT;
    }
    if leaves::find(entries, leaves::TOPOLOGY_AMD, 0).is_none() {
        entries.push(leaves::indexed(leaves::TOPOLOGY_AMD, 0));
    }
}

fn set_msi_destination(entries: &mut [kvm_cpuid_entry2], msi: MsiDestination) {
    if let Some(kvm) = leaves::find_mut(entries, leaves::KVM_FEATURES) {
        match msi {
            MsiDestination::Bits8 => kvm.eax &= !leaves::EAX_MSI_EXT_DEST_ID,
            MsiDestination::Bits15 => kvm.eax |= leaves::EAX_MSI_EXT_DEST_ID,
        }
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
