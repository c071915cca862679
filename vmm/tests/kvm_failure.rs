//! What cannot be done: reports of a vCPU that cannot go on, of a VM that cannot be built, of a VMM
//! that panics.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::sync::Arc;
use std::sync::mpsc::channel;

use embedded::{TestVm, tiny};
use vmm::config::{ConsoleConfig, ConsoleMode};
use vmm::control::{Ended, VmState, Vmm, VmmControl, VmmOptions};

/// Boots a kernel that KVM cannot carry out, and returns what the VM says about its end.
fn report_of(code: &[u8]) -> String {
    let vm = TestVm::tiny(code);
    let mut reports = Vec::new();
    // A VM that failed can be booted again, and fails again.
    for _ in 0..2 {
        vm.vmm.boot().unwrap();
        vm.await_that("the failure", |vm| vm.vmm.info().unwrap().state == VmState::Shutdown);
        let info = vm.vmm.info().unwrap();
        assert!(info.vcpus.is_empty(), "{info:?}");
        reports.push(info.last_error.unwrap());
    }
    assert_eq!(reports[0], reports[1]);
    vm.vmm.delete().unwrap();
    reports.remove(0)
}

#[test]
fn an_instruction_that_cannot_be_emulated_is_shown() {
    // x87 from memory that is a device's: KVM's emulator has no such instruction, and the
    // processor has no such memory.
    let report = report_of(&[
        0xB8, 0x00, 0x00, 0x00, 0xD0, // mov eax, 0D0000000h
        0xBB, 0x34, 0x12, 0x00, 0x00, // mov ebx, 1234h
        0xDD, 0x00, // fld qword ptr [rax]
        0xF4, // hlt
    ]);
    for part in [
        "vCPU 0 stopped: KVM internal error 1 (emulation failure)",
        "at RIP 0x20000a: fld st,qword ptr [rax] ([dd, 00], 64-bit)",
        "rax=00000000d0000000 rbx=0000000000001234",
        "cpl=0",
        "cr0=",
        "efer=",
    ] {
        assert!(report.contains(part), "{report} lacks {part}");
    }
}

#[test]
fn code_where_there_is_no_memory_is_shown() {
    let report = report_of(&[
        0xB8, 0x00, 0x00, 0x00, 0xD0, // mov eax, 0D0000000h
        0xFF, 0xE0, // jmp rax
    ]);
    for part in ["vCPU 0 stopped: KVM ", "at RIP 0xd0000000: ", "rax=00000000d0000000"] {
        assert!(report.contains(part), "{report} lacks {part}");
    }
}

#[test]
fn a_vm_that_cannot_be_built_leaves_what_was_before() {
    let vm = TestVm::tiny(&tiny::STOP);
    vm.vmm.boot().unwrap();
    let kernel = vm.path("kernel");
    let good = std::fs::read(&kernel).unwrap();
    std::fs::write(&kernel, &good[..100]).unwrap();
    // In the middle of its life the kernel goes bad: the reboot fails, and says why.
    let error = vm.vmm.reboot().unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
    let info = vm.vmm.info().unwrap();
    assert!(info.vcpus.is_empty(), "{info:?}");
    assert!(matches!(info.state, VmState::Created | VmState::Shutdown), "{info:?}");
    let again = vm.vmm.boot().unwrap_err().to_string();
    assert_eq!(again, error);
    std::fs::write(&kernel, good).unwrap();
    vm.vmm.boot().unwrap();
    assert_eq!(vm.vmm.info().unwrap().state, VmState::Running);
}

#[test]
fn a_vmm_that_panics_says_that_it_has_ended() {
    let (ended, hear) = channel();
    let options = VmmOptions {
        open_terminal: Some(Box::new(|| panic!("asked to"))),
        on_end: Some(Box::new(move |end| ended.send(end.clone()).unwrap())),
        ..VmmOptions::default()
    };
    let (vmm, thread) = Vmm::start(options).unwrap();
    let mut config = embedded::config(1, "");
    config.serial = ConsoleConfig { mode: ConsoleMode::Tty, file: None, socket: None, id: None };
    vmm.create(config).unwrap();
    let booting = Arc::clone(&vmm);
    let boot = std::thread::spawn(move || drop(booting.boot()));
    assert!(boot.join().is_err(), "it does not panic");
    let end = hear.recv_timeout(embedded::HANG).unwrap();
    assert!(matches!(&end, Ended::Failed(why) if why.contains("panicked")), "{end:?}");
    assert_eq!(thread.wait(), end);
    assert!(vmm.pause().is_err());
}
