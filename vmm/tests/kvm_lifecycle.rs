//! Pause, resume, kill and reboot of real vCPUs.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::TestVm;
use stillpoint_guest::layout;
use vmm::control::VmmControl;

fn stands_still_and_goes_on(vcpus: u32, mode: &str, field: u64) {
    let vm = TestVm::boot(vcpus, &format!("mode={mode} quiet"));
    for _ in 0..20 {
        vm.await_progress(field);
        vm.vmm.pause().unwrap();
        let still = vm.lines(field);
        std::thread::yield_now();
        assert_eq!(still, vm.lines(field));
        drop(vm.vmm.resume().unwrap());
    }
    vm.await_progress(field);
}

#[test]
fn spinning_vcpus_stand_still_and_go_on() {
    stands_still_and_goes_on(4, "busy", layout::LINE_HEARTBEAT);
}

#[test]
fn vcpus_in_a_port_storm_stand_still_and_go_on() {
    stands_still_and_goes_on(4, "io", layout::LINE_PIO);
}

#[test]
fn vcpus_in_a_memory_storm_stand_still_and_go_on() {
    stands_still_and_goes_on(4, "mmio", layout::LINE_MMIO);
}

#[test]
fn vcpus_that_spin_in_the_kernel_stand_still_and_go_on() {
    stands_still_and_goes_on(2, "busy0", layout::LINE_HEARTBEAT);
}
