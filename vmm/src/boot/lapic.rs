//! How firmware leaves the local APICs (Intel SDM volume 3, 11.4.3, 11.5.1 and 11.12.1).

use kvm_bindings::{kvm_lapic_state, kvm_sregs};

use crate::cpuid::{ApicId, Topology};

/// Register offset of LINT1's local vector table entry.
const LVT_LINT1: usize = 0x360;
/// Delivery mode NMI, edge-triggered, not masked.
const MODE_NMI: u32 = 0b100 << 8;
/// APIC base register: x2APIC mode, which needs the enable bit, too.
const BASE_X2APIC: u64 = 1 << 10 | BASE_ENABLE;
const BASE_ENABLE: u64 = 1 << 11;

/// The mode in which the guest finds its local APICs.
///
/// Linux ignores processors with ids that xAPIC mode can't express unless x2APIC mode is on when
/// it starts: firmware has to turn it on where there are such ids (ACPI 6.5, 5.2.12.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicMode {
    /// 8-bit ids, memory-mapped registers: the mode after reset.
    Xapic,
    /// 32-bit ids, registers as MSRs.
    X2apic,
}

impl ApicMode {
    /// The mode that the ids of `topology` need.
    pub fn needed_by(topology: &Topology) -> Self {
        if topology.max_apic_id() < ApicId::FIRST_X2APIC_ONLY { Self::Xapic } else { Self::X2apic }
    }

    /// Puts the mode into the system registers of a vCPU; for every vCPU, after its CPUID was
    /// set and before its local APIC is touched.
    pub fn apply(self, sregs: &mut kvm_sregs) {
        if self == Self::X2apic {
            sregs.apic_base |= BASE_X2APIC;
        }
    }
}

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
    use crate::config::CpusConfig;

    #[test]
    fn only_lint1_changes() {
        let mut lapic = kvm_lapic_state { regs: [0x55; 1024] };
        wire_lint1(&mut lapic);
        assert_eq!(lapic.regs[0x360..0x364], [0, 4, 0, 0]);
        assert_eq!(lapic.regs.iter().filter(|byte| **byte != 0x55).count(), 4);
    }

    #[test]
    fn the_mode_follows_the_highest_id() {
        let base = |vcpus| {
            let cpus = CpusConfig { max_vcpus: vcpus, ..CpusConfig::default() };
            let mut sregs = kvm_sregs { apic_base: 0xFEE0_0900, ..kvm_sregs::default() };
            ApicMode::needed_by(&Topology::new(&cpus).unwrap()).apply(&mut sregs);
            sregs.apic_base
        };
        assert_eq!(base(255), 0xFEE0_0900, "the highest id is 254");
        assert_eq!(base(256), 0xFEE0_0D00);
    }
}
