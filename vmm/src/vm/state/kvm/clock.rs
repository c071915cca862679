//! The guest's clock (KVM_GET_CLOCK), and how much real time passes between a save and a restore.
//!
//! For the guest a restore is a pause: kvmclock and the time-stamp counters go on as if the host's real time had gone on for it, too. Where the hosts'
//! clocks do not agree and the destination's is behind, no time has passed.

use kvm_bindings::{KVM_CLOCK_REALTIME, kvm_clock_data};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use migration::format::Unit;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::vm::KvmError;

/// The VM's time when it was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clock {
    /// Nanoseconds of kvmclock.
    kvmclock: u64,
    /// Nanoseconds since 1970, at the same moment.
    realtime: u64,
    /// Frequency of the time-stamp counters; 0 if KVM does not tell.
    tsc_khz: u32,
}

impl Unit for Clock {
    const KIND: &'static str = "clock";
    const VERSION: u16 = 1;
}

/// How long it is since a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed {
    nanoseconds: u64,
    khz: u32,
}

impl Clock {
    /// Reads it. All vCPUs have one frequency, that of this one.
    pub(super) fn get(vm: &VmFd, vcpu: &VcpuFd) -> Result<Self, KvmError> {
        let clock = vm.get_clock().map_err(KvmError::of("KVM_GET_CLOCK"))?;
        let told = clock.flags & KVM_CLOCK_REALTIME != 0;
        let realtime = if told { clock.realtime } else { now() };
        // Fails where KVM cannot tell.
        let tsc_khz = vcpu.get_tsc_khz().unwrap_or(0);
        Ok(Self { kvmclock: clock.clock, realtime, tsc_khz })
    }

    /// Has kvmclock go on. Before the vCPUs' registers are written: KVM writes the time of its boot into the guest's memory when it gets that
    /// register.
    pub(super) fn set(&self, vm: &VmFd) -> Result<(), KvmError> {
        let offered = vm.check_extension_int(Cap::AdjustClock).cast_unsigned();
        let clock = if offered & KVM_CLOCK_REALTIME == 0 {
            let clock = self.kvmclock.saturating_add(self.elapsed().nanoseconds);
            kvm_clock_data { clock, ..Default::default() }
        } else {
            // KVM adds what has passed at the very moment.
            kvm_clock_data {
                clock: self.kvmclock,
                realtime: self.realtime,
                flags: KVM_CLOCK_REALTIME,
                ..Default::default()
            }
        };
        vm.set_clock(&clock).map_err(KvmError::of("KVM_SET_CLOCK"))
    }

    /// Gives every vCPU the frequency that it had.
    ///
    /// # Errors
    /// This host has another, and KVM does not scale it.
    pub(super) fn set_frequency(&self, vcpu: &VcpuFd, here: u32) -> Result<(), Refusal> {
        if [0, here].contains(&self.tsc_khz) || here == 0 {
            return Ok(());
        }
        // KVM that cannot scale takes what differs by no more than clocks do.
        vcpu.set_tsc_khz(self.tsc_khz).map_err(|error| {
            let saved = self.tsc_khz;
            Refusal::Unfit(format!(
                "its time-stamp counter has {saved} kHz, this host's {here} kHz, and KVM does not scale it: {error}"
            ))
        })
    }

    /// How long ago it was saved, now.
    pub(super) fn elapsed(&self) -> Elapsed {
        Elapsed { nanoseconds: now().saturating_sub(self.realtime), khz: self.tsc_khz }
    }
}

impl Elapsed {
    /// No time at all.
    pub(super) fn none() -> Self {
        Self { nanoseconds: 0, khz: 0 }
    }

    /// Ticks of a time-stamp counter.
    pub(super) fn ticks(self) -> u64 {
        let ticks = u128::from(self.nanoseconds) * u128::from(self.khz) / 1_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The counters' frequency; 0 if it is not known.
    pub(super) fn khz(self) -> u32 {
        self.khz
    }
}

/// Nanoseconds since 1970; none before.
fn now() -> u64 {
    nanoseconds(ClockId::Realtime)
}

/// Nanoseconds of one of the host's clocks.
pub(super) fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted_without_an_overflow() {
        let of = |nanoseconds, khz| Elapsed { nanoseconds, khz }.ticks();
        assert_eq!(of(1_000_000_000, 2_300_000), 2_300_000_000);
        assert_eq!(of(1_500, 2_000), 3);
        assert_eq!(of(u64::MAX, 0), 0);
        assert_eq!(of(u64::MAX, u32::MAX), u64::MAX);
    }
}
