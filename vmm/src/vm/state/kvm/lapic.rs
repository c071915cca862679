//! A local APIC as it is saved: its registers, of which each has the first four of sixteen bytes (Intel SDM volume 3, table 11-1).

use kvm_bindings::kvm_lapic_state;
use serde::{Deserialize, Serialize};

/// Registers in the page that KVM gives.
const REGISTERS: usize = 64;
/// From one to the next.
const STRIDE: usize = 16;

/// The timer's entry in the local vector table, its initial count and its current one.
const LVT_TIMER: usize = 0x32;
const INITIAL_COUNT: usize = 0x38;
const CURRENT_COUNT: usize = 0x39;
/// The timer's mode, of which 0 is one-shot.
const TIMER_MODE: u32 = 0b11 << 17;

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
        self.registers[CURRENT_COUNT] = 0;
        self.registers[0x20..0x28].fill(0);
        self
    }

    /// Whether a count has come to its end that does not begin anew. Whether its interrupt has been delivered KVM does not tell, so it has to be
    /// requested once more: at once, while one that is requested already is the same one. KVM before Linux 6.3 would begin such a count anew
    /// (set_target_expiration in arch/x86/kvm/lapic.c), so the interrupt would come late; from a count of 1 it comes at once everywhere.
    fn has_run_out(&self) -> bool {
        let [entry, initial, current] =
            [LVT_TIMER, INITIAL_COUNT, CURRENT_COUNT].map(|register| self.registers[register]);
        entry & TIMER_MODE == 0 && initial != 0 && current == 0
    }

    /// KVM's again; none if there are not as many registers as there have to be.
    pub(super) fn kvm(&self) -> Option<kvm_lapic_state> {
        if self.registers.len() != REGISTERS {
            return None;
        }
        let mut registers = self.registers.clone();
        if self.has_run_out() {
            registers[CURRENT_COUNT] = 1;
        }
        let mut kvm = kvm_lapic_state::default();
        for (at, register) in kvm.regs.chunks_mut(STRIDE).zip(registers) {
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

    #[test]
    fn a_count_that_has_run_out_ends_at_once_and_no_other_is_changed() {
        let restored = |entry: u32, initial: u32, current: u32| {
            let mut registers = vec![0; REGISTERS];
            registers[LVT_TIMER] = entry;
            registers[INITIAL_COUNT] = initial;
            registers[CURRENT_COUNT] = current;
            Lapic::of(&Lapic { registers }.kvm().unwrap()).registers[CURRENT_COUNT]
        };
        let [one_shot, periodic, deadline] = [0, 1 << 17, 2 << 17].map(|mode| mode | 0xEC);
        assert_eq!(restored(one_shot, 1000, 0), 1);
        assert_eq!(restored(one_shot, 1000, 7), 7);
        // It never ran; it goes on by itself; it has no count.
        assert_eq!(restored(one_shot, 0, 0), 0);
        assert_eq!(restored(periodic, 1000, 0), 0);
        assert_eq!(restored(deadline, 1000, 0), 0);
    }
}
