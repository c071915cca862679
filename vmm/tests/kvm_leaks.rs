//! What a VM leaves behind: nothing. The only test of its process, because it looks at all of
//! the process's threads, descriptors and mappings of guest memory.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::held::Held;
use embedded::{Screen, TestVm, tiny, until};
use vmm::control::{VmState, VmmControl};

/// A life with everything in it that makes or ends something.
fn live(vcpus: u32) {
    let vm = TestVm::with_screen(vcpus, "mode=busy quiet");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    vm.await_up();
    assert!(Held::now().threads.contains_key("vcpu0"), "{:?}", Held::now());
    vm.vmm.reboot().unwrap();
    vm.await_up();
    screen.press(b'r');
    screen.wait_for("reboot\r\n");
    vm.await_up();
    vm.vmm.pause().unwrap();
    vm.vmm.shutdown().unwrap();
    // Between two boots there is no trace of a vCPU or of guest memory.
    let held = Held::now();
    assert!(!held.threads.keys().any(|name| name.starts_with("vcpu")), "{held:?}");
    let is_kvm = |name: &String| name == "/dev/kvm" || name.starts_with("anon_inode:kvm");
    assert!(!held.descriptors.keys().any(is_kvm), "{held:?}");
    assert_eq!(held.guest_memory, 0, "{held:?}");
    vm.vmm.boot().unwrap();
    vm.await_up();
    screen.press(b'q');
    vm.await_that("the end", |vm| vm.vmm.info().unwrap().state == VmState::Shutdown);
    drop(vm);

    // One that fails, and one that cannot be built.
    let vm = TestVm::tiny(&[0xB8, 0, 0, 0, 0xD0, 0xFF, 0xE0]);
    vm.vmm.boot().unwrap();
    vm.await_that("the failure", |vm| vm.vmm.info().unwrap().last_error.is_some());
    std::fs::write(vm.path("kernel"), &tiny::elf(&tiny::STOP)[..200]).unwrap();
    vm.await_that("the end", |vm| vm.vmm.info().unwrap().state == VmState::Shutdown);
    assert!(vm.vmm.boot().is_err());
    drop(vm);
}

#[test]
fn nothing_is_left_of_a_vm() {
    // What a process makes once (a signal handler, a cache of threads' stacks) is made here.
    live(2);
    let before = Held::now();
    for vcpus in [1, 8, 40] {
        live(vcpus);
        // A thread that was joined may be seen for a moment until the kernel has taken it away.
        until(
            "nothing left",
            || Held::now() == before,
            || format!("{before:?}\n{:?}", Held::now()),
        );
    }
}
