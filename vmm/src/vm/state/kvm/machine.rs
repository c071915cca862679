//! What there is of a VM: which of its vCPUs exist and have threads, and what its guest has asked of its owner that is not done yet.
//!
//! ```text
//!   saved:   Never ─▶ there is no KVM vCPU      Running ─▶ it has a thread      Still ─▶ it has none: removed, ejected, or ended
//! ```
//!
//! Whether the guest knows a vCPU, and what it was asked for, is for the CPU hotplug registers to say, which are saved with the devices.

use migration::format::Unit;
use serde::{Deserialize, Serialize};
use vcpu_state::Word;

use super::refusal::Refusal;
use crate::cpuid::MsiDestination;
use crate::vm::Vm;
use crate::vm::power::Noted;
use crate::vm::threads::Occupancy;

/// A vCPU's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Seat {
    /// It has had no vCPU yet.
    Never,
    /// Its vCPU has a thread.
    Running,
    /// Its vCPU has none.
    Still,
}

/// The machine as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// By vCPU; as many as there can ever be.
    pub(super) seats: Vec<Seat>,
    /// Those that come back if the guest ejects them, because it was asked for them and then not.
    pub(super) returning: Vec<u32>,
    /// What the guest has asked for or told, and nobody has taken.
    pub(super) noted: Noted,
    /// Physical address bits: where the windows of its devices end.
    address_bits: u8,
    /// Whether MSIs reach 15 bits of APIC ids.
    wide_msis: bool,
}

impl Unit for Machine {
    const KIND: &'static str = "machine";
    const VERSION: u16 = 1;
}

impl Machine {
    /// What there is of it.
    ///
    /// # Errors
    /// A vCPU is lost.
    pub(super) fn of(vm: &Vm) -> Result<Self, Refusal> {
        let seats: Result<_, _> = (0..vm.cpus.max_vcpus()).map(|vcpu| seat_of(vm, vcpu)).collect();
        let plan = vm.cpus.plan();
        Ok(Self {
            seats: seats?,
            returning: vm.cpus.returning().collect(),
            noted: vm.machine.power.noted(),
            address_bits: plan.address_bits(),
            wide_msis: plan.msi() == MsiDestination::Bits15,
        })
    }

    /// Checks that `vm` can be it.
    ///
    /// # Errors
    /// It has other slots, another address space, or other interrupts.
    pub(super) fn check(&self, vm: &Vm) -> Result<(), Refusal> {
        let plan = vm.cpus.plan();
        let slots = vm.cpus.max_vcpus() as usize;
        let seats = self.seats.len();
        if seats != slots {
            return Err(Refusal::Unfit(format!("it has {seats} slots for vCPUs, this VM {slots}")));
        }
        if let Some(vcpu) = self.returning.iter().find(|vcpu| **vcpu as usize >= slots) {
            return Err(Refusal::Unfit(format!("it has no slot for vCPU {vcpu}")));
        }
        if self.address_bits != plan.address_bits() {
            let (saved, here) = (self.address_bits, plan.address_bits());
            return Err(Refusal::Unfit(format!(
                "its physical addresses have {saved} bits, this host's {here}"
            )));
        }
        if self.wide_msis != (plan.msi() == MsiDestination::Bits15) {
            return Err(Refusal::Unfit(
                "of this host and the one where it was saved one has no APIC ids of 32 bits"
                    .to_owned(),
            ));
        }
        if self.seats.first() == Some(&Seat::Never) {
            return Err(Refusal::Unfit("it has no vCPU 0".to_owned()));
        }
        Ok(())
    }

    /// The vCPUs that there are.
    pub(super) fn vcpus(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.seats).filter(|(_, seat)| **seat != Seat::Never).map(|(vcpu, _)| vcpu)
    }
}

fn seat_of(vm: &Vm, vcpu: u32) -> Result<Seat, Refusal> {
    let has_ended = vm.group.word(vcpu as usize).is_none_or(|word| word.any(Word::DEAD));
    match vm.threads.occupancy(vcpu) {
        Occupancy::Empty => Ok(Seat::Never),
        Occupancy::Running if has_ended => Ok(Seat::Still),
        Occupancy::Running => Ok(Seat::Running),
        Occupancy::Vacant => Ok(Seat::Still),
        Occupancy::Lost => Err(Refusal::Unfit(format!(
            "vCPU {vcpu} is lost: its last thread did not end in order"
        ))),
    }
}
