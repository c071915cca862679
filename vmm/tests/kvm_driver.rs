//! The driver guest itself: its program runs on every vCPU and answers.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::driver::DriverVm;
use stillpoint_guest::driver::{Command, OUTCOME_DONE};
use stillpoint_guest::layout;

#[test]
fn the_driver_answers_on_every_vcpu_and_pauses_like_any_other_guest() {
    use vmm::control::VmmControl;
    let mut guest = DriverVm::boot(3, |_| {});
    for vcpu in 0..3 {
        guest.begin(vcpu, Command::ReadLoop, &[layout::MMIO_HOLE, 1000]);
    }
    guest.vm.vmm.pause().unwrap();
    drop(guest.vm.vmm.resume().unwrap());
    for vcpu in 0..3 {
        let results = guest.end(vcpu);
        assert_eq!(results[0], OUTCOME_DONE);
        assert!(results[1] > 0, "time passed");
    }
    assert_eq!(guest.vm.counter("mmio", "unclaimed_reads"), 3000);
}
