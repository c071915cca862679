//! Hundreds of vCPUs: APIC ids of more than 8 bits, and what KVM itself allows.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::TestVm;
use stillpoint_guest::layout;
use vmm::control::{VmState, VmmControl};
use vmm::vm::KvmHost;

/// Boots, pauses and resumes a few times while `field` rises in every vCPU, and ends it.
fn boots_and_stands_still(vcpus: u32, cmdline: &str, field: u64, cycles: u32) {
    let vm = TestVm::boot(vcpus, cmdline);
    let info = vm.vmm.info().unwrap();
    assert_eq!(info.vcpus.len(), vcpus as usize);
    for _ in 0..cycles {
        vm.vmm.pause().unwrap();
        let lines = vm.all_lines();
        let words = vm.vmm.info().unwrap().vcpus;
        assert!(words.iter().all(|vcpu| vcpu.state.contains("PAUSED")), "{words:?}");
        assert_eq!(lines, vm.all_lines());
        drop(vm.vmm.resume().unwrap());
        vm.await_progress(field);
    }
    vm.vmm.shutdown().unwrap();
    assert_eq!(vm.vmm.info().unwrap().state, VmState::Shutdown);
}

#[test]
fn two_hundred_and_fifty_four_halted() {
    boots_and_stands_still(254, "mode=halt tick=10 quiet", layout::LINE_TICKS, 3);
}

#[test]
fn two_hundred_and_fifty_four_busy() {
    boots_and_stands_still(254, "mode=busy quiet", layout::LINE_HEARTBEAT, 1);
}

#[test]
fn ids_of_more_than_eight_bits() {
    if KvmHost::open().unwrap().check_vcpus(300).is_err() {
        eprintln!("left out: this host's KVM allows fewer than 300 vCPUs");
        return;
    }
    let vm = TestVm::boot(300, "mode=halt quiet");
    let machine = vm.machine();
    let id = |vcpu: u32| -> u32 {
        let line = stillpoint_guest::line_address(vcpu) + layout::LINE_APIC_ID;
        vm_memory::Bytes::read_obj(machine.ram.memory(), vm_memory::GuestAddress(line)).unwrap()
    };
    let mut ids: Vec<u32> = (0..300).map(id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<_>>());
    // An NMI goes by the vCPU, whatever its id.
    vm.vmm.nmi().unwrap();
    vm.await_that("an NMI a vCPU", |vm| vm.lines(layout::LINE_NMIS) == [1; 300]);
    vm.vmm.pause().unwrap();
    drop(vm.vmm.resume().unwrap());
}

#[test]
fn as_many_as_there_can_be() {
    let most = layout::MAX_VCPUS;
    if KvmHost::open().unwrap().check_vcpus(most).is_err() {
        eprintln!("left out: this host's KVM allows fewer than {most} vCPUs");
        return;
    }
    let vm = TestVm::boot(most, "mode=halt quiet");
    for _ in 0..3 {
        vm.vmm.pause().unwrap();
        drop(vm.vmm.resume().unwrap());
    }
    vm.vmm.delete().unwrap();
}
