//! KVM's interval timer (KVM_GET_PIT2).
//!
//! When the counts of the second and the third channel were loaded KVM tells by the host's monotonic clock, which is another's on another host: what is saved
//! is how long ago that was. How far the first channel is it does not tell, and starts it anew when it gets it: its next tick comes a
//! whole count after that. (A guest that has ACPI without old hardware, as here, uses it for little more than its tests.)

use kvm_bindings::{kvm_pit_channel_state, kvm_pit_state2};
use kvm_ioctls::{Cap, VmFd};
use migration::format::Unit;
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::clock::nanoseconds;
use super::mirror::{Mirror, mirror};
use crate::vm::KvmError;

mirror! {
    /// A channel, but for when its count was loaded.
    Registers of kvm_pit_channel_state {
        count: u32, latched_count: u16, count_latched: u8, status_latched: u8, status: u8, read_state: u8,
        write_state: u8, write_latch: u8, rw_mode: u8, mode: u8, bcd: u8, gate: u8,
    }
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    registers: Registers,
    /// Nanoseconds since its count was loaded.
    age: u64,
}

/// The timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pit {
    channels: [Channel; 3],
    flags: u32,
}

impl Unit for Pit {
    const KIND: &'static str = "pit";
    const VERSION: u16 = 1;
}

impl Pit {
    /// Whether VMs have one here.
    pub(super) fn is_there(vm: &VmFd) -> bool {
        vm.check_extension(Cap::Pit2) && vm.check_extension(Cap::PitState2)
    }

    /// Reads it.
    pub(super) fn get(vm: &VmFd) -> Result<Self, KvmError> {
        let pit = vm.get_pit2().map_err(KvmError::of("KVM_GET_PIT2"))?;
        let now = nanoseconds(ClockId::Monotonic);
        Ok(Self {
            channels: pit.channels.map(|channel| Channel::of(&channel, now)),
            flags: pit.flags,
        })
    }

    /// Writes it: after everything that it interrupts.
    pub(super) fn set(&self, vm: &VmFd) -> Result<(), KvmError> {
        let now = nanoseconds(ClockId::Monotonic);
        let channels = self.channels.each_ref().map(|channel| channel.kvm(now));
        let pit = kvm_pit_state2 { channels, flags: self.flags, ..Default::default() };
        vm.set_pit2(&pit).map_err(KvmError::of("KVM_SET_PIT2"))
    }
}

impl Channel {
    fn of(kvm: &kvm_pit_channel_state, now: u64) -> Self {
        let loaded = u64::try_from(kvm.count_load_time).unwrap_or(0);
        Self { registers: Registers::of(kvm), age: now.saturating_sub(loaded) }
    }

    fn kvm(&self, now: u64) -> kvm_pit_channel_state {
        let loaded = now.saturating_sub(self.age);
        let count_load_time = i64::try_from(loaded).unwrap_or(i64::MAX);
        kvm_pit_channel_state { count_load_time, ..self.registers.kvm() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_was_loaded_as_long_ago_as_it_was() {
        let kvm = kvm_pit_channel_state { count_load_time: 700, count: 5, ..Default::default() };
        let saved = Channel::of(&kvm, 1_000);
        assert_eq!(saved.age, 300);
        assert_eq!(saved.kvm(5_000_000).count_load_time, 4_999_700);
        assert_eq!(saved.kvm(100).count_load_time, 0);
        let future = kvm_pit_channel_state { count_load_time: i64::MAX, ..Default::default() };
        assert_eq!(Channel::of(&future, 1).age, 0);
    }
}
