//! What is asked of a VM whose memory does not come is answered while the link stands still, on real KVM.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;
mod stall;

use migration_bed::state;
use stall::{do_meanwhile, finish, stalled};
use vmm::config::{ResizeConfig, SendMigrationConfig, SnapshotConfig};
use vmm::control::{VmState, VmmControl};

#[test]
fn a_vm_whose_memory_stalls_is_rebooted_while_the_link_stands_still() {
    let stalled = stalled();
    do_meanwhile(&stalled, |vmm| vmm.reboot().unwrap());
    let there = &stalled.destination.vm.vmm;
    let info = there.info().unwrap();
    assert_eq!((info.state, info.memory_missing_bytes), (VmState::Running, None));
    finish(stalled);
}

#[test]
fn a_vm_whose_memory_stalls_is_asked_for_a_vcpu_and_told_of_a_button_while_the_link_stands_still() {
    let stalled = stalled();
    do_meanwhile(&stalled, |vmm| {
        vmm.resize(ResizeConfig { desired_vcpus: Some(1), ..ResizeConfig::default() }).unwrap();
        let asked = vmm.info().unwrap();
        assert!(asked.vcpus.iter().any(|vcpu| vcpu.hotplug.is_some()), "{asked:?}");
        // The same again: one that the guest was asked for is taken back.
        vmm.resize(ResizeConfig { desired_vcpus: Some(2), ..ResizeConfig::default() }).unwrap();
        let more = ResizeConfig { desired_vcpus: Some(3), ..ResizeConfig::default() };
        vmm.resize(more).unwrap_err();
        vmm.nmi().unwrap();
        vmm.power_button().unwrap();
    });
    assert_eq!(state(&stalled.destination.vm), Some(VmState::Running));
    do_meanwhile(&stalled, |vmm| vmm.shutdown().unwrap());
    finish(stalled);
}

#[test]
fn a_vm_whose_memory_stalls_is_neither_saved_nor_sent_on_and_that_is_said_at_once() {
    let stalled = stalled();
    let directory = tempfile::tempdir().unwrap();
    let snapshot = SnapshotConfig {
        destination_url: format!("file://{}", directory.path().join("snapshot").display()),
        live: true,
        base_url: None,
    };
    let elsewhere = format!("unix:{}", directory.path().join("nobody").display());
    do_meanwhile(&stalled, move |vmm| {
        for refused in [
            vmm.snapshot(snapshot).unwrap_err(),
            vmm.send_migration(SendMigrationConfig::to(&elsewhere)).unwrap_err(),
        ] {
            let said = refused.to_string();
            assert!(said.contains("migration"), "{said}");
        }
    });
    assert_eq!(state(&stalled.destination.vm), Some(VmState::Running));
    assert!(!directory.path().join("snapshot").exists());
    do_meanwhile(&stalled, |vmm| vmm.shutdown().unwrap());
    finish(stalled);
}
