//! Virtio devices on real KVM: a guest at CPL 3 finds them, drives them, and checks its data.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::disk::{DISK, RNG, SECTORS, image};
use embedded::driver::DriverVm;
use stillpoint_guest::driver::{Command, OUTCOME_DONE, Pattern};
use vmm::config::{DiskConfig, RngConfig, VmConfig};
use vmm::control::{Added, ControlError, VmmControl};

fn boot(devices: impl FnOnce(&mut VmConfig)) -> DriverVm {
    DriverVm::boot(1, devices)
}

#[test]
fn a_guest_finds_its_devices_and_vm_info_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot(|config| {
        config.disks.push(image(dir.path(), "disk.raw"));
        config.rng = Some(RngConfig::default());
    });
    let disk = guest.slot_of(DISK);
    let rng = guest.slot_of(RNG);
    let tree = guest.vm.vmm.info().unwrap().device_tree;
    let device = |id: &str| u64::from(tree[id].pci_bdf.unwrap().device);
    assert_eq!([device("_disk0"), device("__rng")], [disk, rng]);
}

#[test]
fn what_a_guest_writes_to_its_disk_it_reads_back_while_it_is_paused_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot(|config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = guest.slot_of(DISK);
    let verify = Pattern::Verify as u64;
    guest.begin(0, Command::Block, &[slot, 2000, 4096, 8, SECTORS, verify, 4711]);
    let mut pauses = 0;
    while !guest.is_done(0) {
        guest.vm.vmm.pause().unwrap();
        let then = guest.progress(0);
        assert_eq!(guest.progress(0), then);
        drop(guest.vm.vmm.resume().unwrap());
        // Back to back, pauses leave a vCPU no time to wake.
        embedded::until(
            "the guest going on",
            || guest.is_done(0) || guest.progress(0) != then,
            || format!("{:?} {:?}", guest.vm.vmm.info(), guest.vm.vmm.counters()),
        );
        pauses += 1;
    }
    let results = guest.end(0);
    assert_eq!(results[0], OUTCOME_DONE, "{results:?} after {pauses} pauses");
    assert!(results[1] >= 2000, "{results:?}");
    assert!(guest.vm.counter("_disk0", "activations") >= 1);
}

#[test]
fn a_device_that_is_leaving_says_so_and_keeps_its_id_until_it_is_ejected() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot(|config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = guest.slot_of(DISK);
    let vmm = &guest.vm.vmm;
    // As a guest that does not look: it is asked, and asked again.
    vmm.remove_device("_disk0").unwrap();
    vmm.remove_device("_disk0").unwrap();
    let again = DiskConfig { id: Some("_disk0".to_owned()), ..image(dir.path(), "disk.raw") };
    let error = vmm.add_disk(again.clone()).unwrap_err();
    assert!(matches!(&error, ControlError::IdLeaving(id) if id == "_disk0"), "{error}");
    assert!(error.to_string().contains("is leaving"), "{error}");

    assert_eq!(guest.run(0, Command::Eject, &[1 << slot])[0], OUTCOME_DONE);
    let vmm = &guest.vm.vmm;
    let add = || match vmm.add_disk(again.clone()) {
        Ok(Added::Plugged(_)) => true,
        // Its workers end.
        Err(ControlError::IdLeaving(_)) => false,
        other => panic!("{other:?}"),
    };
    embedded::until("the id", add, || format!("{:?}", vmm.info()));
    vmm.remove_device("_disk0").unwrap();
    let error = vmm.remove_device("_disk1").unwrap_err();
    assert!(matches!(error, ControlError::NoSuchDevice { .. }), "{error}");
}

#[test]
fn a_queue_is_reset_with_requests_in_flight_again_and_again_and_over_pauses() {
    const ROUNDS: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot(|config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = guest.slot_of(DISK);
    guest.begin(0, Command::ResetQueue, &[slot, ROUNDS, 4711]);
    while !guest.is_done(0) {
        guest.vm.vmm.pause().unwrap();
        let then = guest.progress(0);
        assert_eq!(guest.progress(0), then);
        drop(guest.vm.vmm.resume().unwrap());
        embedded::until(
            "the guest going on",
            || guest.is_done(0) || guest.progress(0) != then,
            || format!("{:?} {:?}", guest.vm.vmm.info(), guest.vm.vmm.counters()),
        );
    }
    let results = guest.end(0);
    assert_eq!(results[..2], [OUTCOME_DONE, ROUNDS], "{results:?}");
    assert!(results[2] > 0, "{results:?}");
    assert_eq!(guest.vm.counter("_disk0", "activations"), 1);
    assert_eq!(guest.vm.counter("_disk0", "failures"), 0);
}
