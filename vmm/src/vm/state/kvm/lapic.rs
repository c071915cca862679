//! A local APIC as it is saved: its registers, of which each has the first four of sixteen bytes (Intel SDM volume 3, table 11-1).

use kvm_bindings::kvm_lapic_state;
use serde::{Deserialize, Serialize};

/// Registers in the page that KVM gives.
const REGISTERS: usize = 64;
/// From one to the next.
const STRIDE: usize = 16;

/// The registers in order, the timer's current count among them: what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lapic {
    registers: Vec<u32>,
}

impl Lapic {
    /// What is saved of it.
    pub(super) fn of(kvm: &kvm_lapic_state) -> Self {
        let register =
            |at: &[i8]| u32::from_le_bytes(std::array::from_fn(|byte| at[byte].cast_unsigned()));
        Self { registers: kvm.regs.chunks(STRIDE).map(register).collect() }
    }

    /// The same without what is left of the timer's count, and without what the timer may have requested meanwhile.
    #[cfg(test)]
    pub(super) fn timeless(mut self) -> Self {
        self.registers[0x39] = 0;
        self.registers[0x20..0x28].fill(0);
        self
    }

    /// KVM's again; none if there are not as many registers as there have to be.
    pub(super) fn kvm(&self) -> Option<kvm_lapic_state> {
        if self.registers.len() != REGISTERS {
            return None;
        }
        let mut kvm = kvm_lapic_state::default();
        for (at, register) in kvm.regs.chunks_mut(STRIDE).zip(&self.registers) {
            for (byte, value) in at.iter_mut().zip(register.to_le_bytes()) {
                *byte = value.cast_signed();
            }
        }
        Some(kvm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_the_first_four_bytes_of_sixteen() {
        let mut kvm = kvm_lapic_state::default();
        kvm.regs[0x3F0..0x3F4].copy_from_slice(&[1, 2, 3, -1]);
        let saved = Lapic::of(&kvm);
        assert_eq!(saved.registers[63], 0xFF03_0201);
        assert_eq!(saved.kvm(), Some(kvm));
        assert_eq!(Lapic { registers: vec![0; 63] }.kvm(), None);
    }
}
