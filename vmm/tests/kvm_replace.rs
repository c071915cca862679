//! A vCPU loses its thread and gets another: it stands still meanwhile, and goes on where it stood.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::TestVm;
use stillpoint_guest::{Mode, layout};
use vcpu_state::{Deadline, Word};
use vmm::control::{ControlError, VmmControl};

fn word(vm: &TestVm, vcpu: usize) -> Word {
    vm.vmm.group().unwrap().word(vcpu).unwrap()
}

/// The guest numbers its vCPUs by arrival: the line of the vCPU with this index.
fn line_of(vm: &TestVm, vcpu: u64) -> usize {
    // Ids are given in order of index where a package has a power of two of them.
    let ids = vm.lines(layout::LINE_APIC_ID);
    ids.iter().position(|line| line & 0xffff_ffff == vcpu).unwrap()
}

#[test]
fn a_removed_vcpu_stands_still_and_an_added_one_goes_on() {
    for (mode, field) in [
        (Mode::Busy, layout::LINE_HEARTBEAT),
        (Mode::Io, layout::LINE_PIO),
        (Mode::Mmio, layout::LINE_MMIO),
    ] {
        let vm = TestVm::boot(4, &format!("mode={} quiet", mode.name()));
        for round in 1..=20 {
            let vcpu = round % 3 + 1;
            let line = line_of(&vm, u64::from(vcpu));
            vm.vmm.remove_vcpu(vcpu).unwrap();
            assert!(word(&vm, vcpu as usize).any(Word::DEAD));
            let stood = vm.lines(field);
            vm.await_that("the others going on", |vm| {
                vm.lines(field).iter().zip(&stood).enumerate().all(|(i, (n, s))| i == line || n > s)
            });
            assert_eq!(vm.lines(field)[line], stood[line], "a removed vCPU moved");
            vm.vmm.add_vcpu(vcpu).unwrap();
            vm.await_progress(field);
        }
        assert_eq!(word(&vm, 1).incarnation(), 6);
        assert_eq!(vm.lines(layout::LINE_BAD_READS), [0; 4]);
    }
}

#[test]
fn a_vcpu_added_under_a_hold_waits_for_its_end() {
    let vm = TestVm::boot(3, "mode=io quiet");
    let group = vm.vmm.group().unwrap();
    for _ in 0..10 {
        // Removed under a hold, added under another, let go by the last.
        vm.vmm.pause().unwrap();
        let lines = vm.all_lines();
        vm.vmm.remove_vcpu(2).unwrap();
        let second = group.pause(Deadline::Never).unwrap();
        drop(vm.vmm.resume().unwrap());
        vm.vmm.add_vcpu(2).unwrap();
        assert!(word(&vm, 2).is_quiescent());
        assert_eq!(lines, vm.all_lines(), "a counter of the guest moved");
        drop(second);
        vm.await_progress(layout::LINE_PIO);
    }
}

#[test]
fn what_cannot_be_removed_or_added_is_refused() {
    let vm = TestVm::created(2, "mode=busy quiet");
    assert!(matches!(vm.vmm.remove_vcpu(1), Err(ControlError::WrongPhase { .. })));
    vm.start();
    let refused = |result: Result<(), ControlError>, why: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(vm.vmm.remove_vcpu(0), "the guest was booted on it");
    refused(vm.vmm.remove_vcpu(2), "there is no vCPU 2: the VM has 2");
    refused(vm.vmm.add_vcpu(9), "there is no vCPU 9");
    refused(vm.vmm.add_vcpu(1), "vCPU 1 is there already");
    vm.vmm.remove_vcpu(1).unwrap();
    refused(vm.vmm.remove_vcpu(1), "removed already");
    // A VM with a vCPU removed pauses, resumes and ends as any other.
    vm.vmm.pause().unwrap();
    drop(vm.vmm.resume().unwrap());
    vm.vmm.reboot().unwrap();
    vm.await_up();
    refused(vm.vmm.add_vcpu(1), "vCPU 1 is there already");
}
