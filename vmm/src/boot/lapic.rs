//! How firmware leaves the pins of a local APIC (Intel SDM volume 3, 11.5.1).

use kvm_bindings::kvm_lapic_state;

/// Register offset of LINT1's local vector table entry.
const LVT_LINT1: usize = 0x360;
/// Delivery mode NMI, edge-triggered, not masked.
const MODE_NMI: u32 = 0b100 << 8;

/// Makes LINT1 an NMI pin, as the ACPI tables say it is; for every vCPU. LINT0 stays masked, as
/// after reset: there is no 8259 to take external interrupts from.
pub fn wire_lint1(lapic: &mut kvm_lapic_state) {
    let register = &mut lapic.regs[LVT_LINT1..LVT_LINT1 + 4];
    for (byte, value) in register.iter_mut().zip(MODE_NMI.to_le_bytes()) {
        *byte = value.cast_signed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lint1_changes() {
        let mut lapic = kvm_lapic_state { regs: [0x55; 1024] };
        wire_lint1(&mut lapic);
        assert_eq!(lapic.regs[0x360..0x364], [0, 4, 0, 0]);
        assert_eq!(lapic.regs.iter().filter(|byte| **byte != 0x55).count(), 4);
    }
}
