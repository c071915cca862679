//! What KVM itself takes for the vCPUs of a start: the VM, its interrupt controllers, each vCPU and its CPUID,
//! one after the other on one thread, and nothing else. A VMM with several processors can be below of it.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::{Cap, Kvm};

/// Three pages below 4 GiB where nothing is, for processors that need them (KVM_SET_TSS_ADDR,
/// Documentation/virt/kvm/api.rst).
pub const TSS: usize = 0xFFFB_D000;

/// Makes them, once, and takes them down again, which is not part of the time.
pub fn bare_vcpus(vcpus: NonZeroU32) -> Result<Duration> {
    let begun = Instant::now();
    let kvm = Kvm::new().context("cannot open /dev/kvm")?;
    let cpuid =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("KVM_GET_SUPPORTED_CPUID")?;
    let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
    if vm.check_extension(Cap::SetTssAddr) {
        vm.set_tss_address(TSS).context("KVM_SET_TSS_ADDR")?;
    }
    vm.create_irq_chip().context("KVM_CREATE_IRQCHIP")?;
    let mut made = Vec::new();
    for id in 0..vcpus.get() {
        let vcpu = vm.create_vcpu(u64::from(id)).context("KVM_CREATE_VCPU")?;
        vcpu.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")?;
        made.push(vcpu);
    }
    Ok(begun.elapsed())
}
