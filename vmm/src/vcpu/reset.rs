//! A vCPU as it comes out of its box: for one that its guest has ejected, before it is plugged in again, and for a new one.
//!
//! KVM cannot take a vCPU away, so the next vCPU of the slot is the last one's. It must not go on where that stood: it waits for an INIT and
//! a SIPI, which reset the rest of it, and nothing that was on its way to it wakes it before.

use kvm_bindings::{
    KVM_MP_STATE_UNINITIALIZED, KVM_VCPUEVENT_VALID_NMI_PENDING, kvm_lapic_state, kvm_mp_state,
    kvm_regs, kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;

use crate::vm::KvmError;

/// Registers of a local APIC (Intel SDM volume 3, table 11-1), each in 16 bytes of its own.
const SPURIOUS: usize = 0xF0;
const IN_SERVICE: usize = 0x100;
const TRIGGER_MODE: usize = 0x180;
const REQUESTED: usize = 0x200;
const TIMER_INITIAL: usize = 0x380;
const LOCAL_VECTORS: [usize; 7] = [0x2F0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370];
/// Their values after a reset: software-disabled; masked.
const SPURIOUS_RESET: u32 = 0xFF;
const MASKED: u32 = 1 << 16;
/// Bit 1 of RFLAGS always reads as one; all others are clear, IF among them.
const RFLAGS_RESET: u64 = 2;
/// Where a processor begins after a reset, in the segment that starts at 0xFFFF_0000.
const RIP_RESET: u64 = 0xFFF0;

/// Makes it wait for an INIT, with no interrupt, NMI or timer pending.
pub(super) fn to_power_on(fd: &VcpuFd) -> Result<(), KvmError> {
    let mut lapic = fd.get_lapic().map_err(KvmError::of("KVM_GET_LAPIC"))?;
    quieten(&mut lapic);
    fd.set_lapic(&lapic).map_err(KvmError::of("KVM_SET_LAPIC"))?;
    let regs = kvm_regs { rip: RIP_RESET, rflags: RFLAGS_RESET, ..Default::default() };
    fd.set_regs(&regs).map_err(KvmError::of("KVM_SET_REGS"))?;
    let events =
        kvm_vcpu_events { flags: KVM_VCPUEVENT_VALID_NMI_PENDING, ..kvm_vcpu_events::default() };
    fd.set_vcpu_events(&events).map_err(KvmError::of("KVM_SET_VCPU_EVENTS"))?;
    let waits = kvm_mp_state { mp_state: KVM_MP_STATE_UNINITIALIZED };
    fd.set_mp_state(waits).map_err(KvmError::of("KVM_SET_MP_STATE"))
}

fn quieten(lapic: &mut kvm_lapic_state) {
    let mut set = |register: usize, value: u32| {
        for (byte, value) in lapic.regs[register..register + 4].iter_mut().zip(value.to_le_bytes())
        {
            *byte = value.cast_signed();
        }
    };
    set(SPURIOUS, SPURIOUS_RESET);
    set(TIMER_INITIAL, 0);
    for bits in 0..8 {
        for bank in [IN_SERVICE, TRIGGER_MODE, REQUESTED] {
            set(bank + 16 * bits, 0);
        }
    }
    for register in LOCAL_VECTORS {
        set(register, MASKED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pending_is_gone_and_the_identity_stays() {
        let mut lapic = kvm_lapic_state { regs: [0x55; 1024] };
        quieten(&mut lapic);
        let at = |register: usize| {
            let bytes: [i8; 4] = std::array::from_fn(|byte| lapic.regs[register + byte]);
            u32::from_le_bytes(bytes.map(i8::cast_unsigned))
        };
        // The id, the version and the logical destination.
        assert_eq!([0x20, 0x30, 0xD0].map(at), [0x5555_5555; 3]);
        assert_eq!([0xF0, 0x100, 0x1F0, 0x200, 0x270, 0x380].map(at), [0xFF, 0, 0, 0, 0, 0]);
        assert_eq!([0x320, 0x350, 0x370].map(at), [MASKED; 3]);
    }
}
