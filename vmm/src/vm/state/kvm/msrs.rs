//! Model-specific registers: which of them a vCPU has, reading them and writing them.
//!
//! Which there are, KVM lists (KVM_GET_MSR_INDEX_LIST), but for memory types and machine-check banks, which every vCPU has and which its documentation
//! leaves to who knows of them. Of those, the ones that can be read of the first vCPU are read of all.
//!
//! The time-stamp counter and the local APIC's deadline are read with the others, and saved by themselves ([`super::tsc`]).

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use crate::vm::{KvmError, KvmHost};

/// IA32_TIME_STAMP_COUNTER.
pub(super) const TSC: u32 = 0x10;
/// IA32_TSC_DEADLINE.
pub(super) const TSC_DEADLINE: u32 = 0x6E0;
/// IA32_FEATURE_CONTROL: without it a processor has no VMX.
pub(super) const FEATURE_CONTROL: u32 = 0x3A;
/// IA32_MCG_CAP; its low byte is how many banks there are.
const MCG_CAP: u32 = 0x179;
/// IA32_MC0_CTL; each bank has four registers.
const MC0_CTL: u32 = 0x400;
/// More banks than KVM has (KVM_MAX_MCE_BANKS).
const MOST_BANKS: u32 = 32;
/// Fixed ranges (Intel SDM volume 3, table 12-8), and what they stand under.
const MTRR_FIXED: [u32; 11] =
    [0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F];
/// Bases and masks of KVM's eight variable ranges.
const MTRR_VARIABLE: std::ops::Range<u32> = 0x200..0x210;
/// IA32_MTRR_DEF_TYPE.
const MTRR_DEF_TYPE: u32 = 0x2FF;

/// Hyper-V's run time of a vCPU and reference counter: they count, in every VM that KVM lets be one of Hyper-V's.
#[cfg(test)]
pub(super) const RUNNING: [u32; 2] = [0x4000_0010, 0x4000_0020];

/// One register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Msr {
    pub(super) index: u32,
    pub(super) value: u64,
}

/// The numbers of those that there are.
#[derive(Clone, Debug)]
pub(in crate::vm) struct MsrIndices(Vec<u32>);

impl MsrIndices {
    /// Those that can be read of this vCPU.
    pub(super) fn of(fd: &VcpuFd) -> Result<Self, KvmError> {
        let mut wanted = KvmHost::msr_indices()?;
        wanted.extend(MTRR_VARIABLE.chain(MTRR_FIXED).chain([MTRR_DEF_TYPE]));
        let banks = get_one(fd, MCG_CAP)?.map_or(0, |cap| u32::from(cap.to_le_bytes()[0]));
        wanted.extend((0..banks.min(MOST_BANKS)).flat_map(|bank| {
            let first = MC0_CTL + 4 * bank;
            first..first + 4
        }));
        // Last, so that little time passes until the local APIC is read.
        wanted.sort_unstable_by_key(|index| (*index == TSC_DEADLINE, *index));
        wanted.dedup();
        Ok(Self(read(fd, &wanted)?.into_iter().map(|msr| msr.index).collect()))
    }

    /// Their values. A register that this vCPU does not have is left out.
    pub(super) fn get(&self, fd: &VcpuFd) -> Result<Vec<Msr>, KvmError> {
        read(fd, &self.0)
    }
}

/// Reads those of the registers that can be read.
fn read(fd: &VcpuFd, indices: &[u32]) -> Result<Vec<Msr>, KvmError> {
    let mut found = Vec::with_capacity(indices.len());
    let mut left = indices;
    while !left.is_empty() {
        let mut msrs = of_indices(left.iter().map(|index| Msr { index: *index, value: 0 }))?;
        // KVM stops at the first that it does not have.
        let read = fd.get_msrs(&mut msrs).map_err(KvmError::of("KVM_GET_MSRS"))?;
        let entries = msrs.as_slice().iter().take(read);
        found.extend(entries.map(|entry| Msr { index: entry.index, value: entry.data }));
        left = left.get(read + 1..).unwrap_or_default();
    }
    Ok(found)
}

/// One register, if the vCPU has it.
pub(super) fn get_one(fd: &VcpuFd, index: u32) -> Result<Option<u64>, KvmError> {
    Ok(read(fd, &[index])?.first().map(|msr| msr.value))
}

/// Writes them in their order. One that is refused and has the value already is as it should be.
///
/// # Errors
/// One has another value, and KVM refuses this one.
pub(super) fn set(fd: &VcpuFd, values: &[Msr]) -> Result<(), KvmError> {
    let mut left = values;
    while !left.is_empty() {
        let msrs = of_indices(left.iter().copied())?;
        let set = fd.set_msrs(&msrs).map_err(KvmError::of("KVM_SET_MSRS"))?;
        if let Some(refused) = left.get(set)
            && get_one(fd, refused.index)? != Some(refused.value)
        {
            return Err(KvmError::Msr { index: refused.index });
        }
        left = left.get(set + 1..).unwrap_or_default();
    }
    Ok(())
}

fn of_indices(msrs: impl Iterator<Item = Msr>) -> Result<Msrs, KvmError> {
    let entry =
        |msr: Msr| kvm_msr_entry { index: msr.index, data: msr.value, ..Default::default() };
    let entries: Vec<_> = msrs.map(entry).collect();
    Msrs::from_entries(&entries).map_err(|_| KvmError::Lacks("room for so many registers"))
}
