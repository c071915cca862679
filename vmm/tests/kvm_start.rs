//! What a start does ahead, and what it leaves to the vCPUs' own threads.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::fs;

use embedded::TestVm;
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::{Kvm, VcpuFd};
use vcpu_state::sync::Arc;
use vmm::boot;
use vmm::control::VmmControl;
use vmm::process;
use vmm::vcpu::Identity;
use vmm::vm::{KvmError, make_room_for_files};

/// A number that no processor has given to a register.
const NO_SUCH_MSR: u32 = 0x1234_5678;

fn vcpu() -> (Kvm, VcpuFd) {
    let kvm = Kvm::new().unwrap();
    let vm = kvm.create_vm().unwrap();
    vm.create_irq_chip().unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    (kvm, vcpu)
}

fn msrs(entries: &[kvm_msr_entry]) -> Arc<Msrs> {
    Arc::new(Msrs::from_entries(entries).unwrap())
}

/// Family, model and stepping, as KVM knows them.
fn model_of(fd: &VcpuFd) -> u32 {
    let told = fd.get_cpuid2(KVM_MAX_CPUID_ENTRIES).unwrap();
    told.as_slice().iter().find(|entry| entry.function == 1).unwrap().eax
}

#[test]
fn kvm_is_told_once_what_a_vcpu_is() {
    let (kvm, fd) = vcpu();
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    let identity = Identity::new(cpuid.clone(), msrs(&boot::msrs()));
    identity.tell_once(&fd).unwrap();
    assert_eq!(
        model_of(&fd),
        cpuid.as_slice().iter().find(|entry| entry.function == 1).unwrap().eax
    );
    let first = model_of(&fd);
    // What was said later by another is not overwritten by a second time.
    let mut other = cpuid;
    other.as_mut_slice().iter_mut().filter(|entry| entry.function == 1).for_each(|e| e.eax ^= 1);
    fd.set_cpuid2(&other).unwrap();
    let said = model_of(&fd);
    assert_ne!(said, first, "the second table shows no difference");
    identity.tell_once(&fd).unwrap();
    assert_eq!(model_of(&fd), said);
}

#[test]
fn a_register_that_kvm_does_not_take_is_named_and_the_vcpu_is_not_done() {
    let (kvm, fd) = vcpu();
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    let wrong = kvm_msr_entry { index: NO_SUCH_MSR, data: 1, ..Default::default() };
    let identity = Identity::new(cpuid, msrs(&[boot::msrs()[0], wrong]));
    for _ in 0..2 {
        let refused = identity.tell_once(&fd).unwrap_err();
        assert!(matches!(refused, KvmError::Msr { index: NO_SUCH_MSR }), "{refused}");
    }
}

/// What the kernel has room for in the table of files of this process, without letting a grace period pass.
fn table_of_files() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    size.unwrap().trim().parse().unwrap()
}

#[test]
fn the_table_of_files_does_not_grow_while_vcpus_are_made() {
    const VCPUS: u32 = 100;
    process::prepare(VCPUS);
    let prepared = table_of_files();
    assert!(prepared >= make_room_for_files(VCPUS), "{prepared}");
    let vm = TestVm::boot(VCPUS, "mode=halt quiet");
    assert_eq!(table_of_files(), prepared);
    vm.vmm.delete().unwrap();
}
