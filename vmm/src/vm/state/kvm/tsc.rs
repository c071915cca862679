//! A vCPU's time-stamp counter: how it goes on in another VM, and its local APIC's deadline, which is counted by it.
//!
//! For the guest a restore is a pause: the counter goes on with the host's real time, as it does in one. KVM takes a value that is within a
//! second of what the vCPUs' counters stand at for an attempt to have them agree, and makes them agree (kvm_synchronize_tsc in arch/x86/kvm/x86.c). That
//! is what is wanted for all vCPUs but the first, whose value it must not take for one that agrees with the VM's own young counters: so
//! that is first sent far away.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use super::clock::Elapsed;
use super::msrs::{self, Msr};
use super::refusal::Refusal;
use crate::vm::KvmError;

/// Seconds: far enough not to agree.
const FAR: u64 = 100;
/// Ticks in a second, at most, where KVM does not tell the frequency.
const MOST_KHZ: u32 = 10_000_000;

/// What is saved of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tsc {
    value: u64,
    /// When the local APIC's timer fires, or 0 if it does not, or not by this counter.
    deadline: u64,
}

impl Tsc {
    /// Takes it out of what was read.
    pub(super) fn take(read: &mut Vec<Msr>) -> Self {
        let mut take = |index: u32| {
            let place = read.iter().position(|msr| msr.index == index);
            place.map_or(0, |place| read.remove(place).value)
        };
        Self { value: take(msrs::TSC), deadline: take(msrs::TSC_DEADLINE) }
    }

    /// Reads the deadline again; says whether the timer has fired since.
    pub(super) fn has_fired(&mut self, fd: &VcpuFd) -> Result<bool, KvmError> {
        if self.deadline == 0 {
            return Ok(false);
        }
        let before = self.deadline;
        self.deadline = msrs::get_one(fd, msrs::TSC_DEADLINE)?.unwrap_or(0);
        Ok(self.deadline != before)
    }

    /// Puts it among what is to be written: the counter first, the deadline last, when there is a counter for it.
    pub(super) fn put(&self, msrs: &[Msr], elapsed: Elapsed) -> Vec<Msr> {
        let counter = Msr { index: msrs::TSC, value: self.now(elapsed) };
        let deadline = Msr { index: msrs::TSC_DEADLINE, value: self.deadline };
        let deadline = Some(deadline).filter(|deadline| deadline.value != 0);
        [counter].into_iter().chain(msrs.iter().copied()).chain(deadline).collect()
    }

    /// Has the VM's counters agree with this one from now on.
    ///
    /// # Errors
    /// The host cannot have the counter go on from there.
    pub(super) fn lead(&self, fd: &VcpuFd, elapsed: Elapsed) -> Result<(), Refusal> {
        let khz = Some(elapsed.khz()).filter(|khz| *khz > 0).unwrap_or(MOST_KHZ);
        let far = FAR * 1000 * u64::from(khz);
        write(fd, self.now(elapsed).wrapping_add(far))?;
        write(fd, self.now(elapsed))?;
        // A host whose guests have its own counter cannot set it. Where that is ahead, the guest sees a longer pause.
        let now = msrs::get_one(fd, msrs::TSC)?.unwrap_or(0);
        if now < self.value {
            let saved = self.value;
            return Err(Refusal::Unfit(format!(
                "its time-stamp counter would go back from {saved} to {now}, and this host's KVM cannot set it"
            )));
        }
        Ok(())
    }

    fn now(&self, elapsed: Elapsed) -> u64 {
        self.value.wrapping_add(elapsed.ticks())
    }
}

fn write(fd: &VcpuFd, data: u64) -> Result<(), KvmError> {
    let refused = KvmError::Msr { index: msrs::TSC };
    let entry = kvm_msr_entry { index: msrs::TSC, data, ..Default::default() };
    let Ok(msrs) = Msrs::from_entries(&[entry]) else { return Err(refused) };
    match fd.set_msrs(&msrs).map_err(KvmError::of("KVM_SET_MSRS"))? {
        1 => Ok(()),
        _ => Err(refused),
    }
}
