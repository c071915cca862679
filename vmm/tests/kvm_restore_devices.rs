//! Devices of a VM that is saved while its guest uses them, on real KVM: the guest goes on, in another VMM, and checks its data.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::path::Path;

use embedded::driver::DriverVm;
use stillpoint_guest::driver::{Command, OUTCOME_DONE, Pattern, storm};
use vmm::config::{DiskConfig, RngConfig, SnapshotConfig};
use vmm::control::{Added, ControlError, VmmControl};

/// Sectors of the disk.
const SECTORS: u64 = 8192;

fn image(dir: &Path, name: &str) -> DiskConfig {
    let path = dir.join(name);
    std::fs::File::create(&path).unwrap().set_len(SECTORS * 512).unwrap();
    DiskConfig::of_path(&path)
}

/// Slots by device id.
fn slot_of(guest: &mut DriverVm, device_id: u64) -> u64 {
    let found = guest.run(0, Command::Probe, &[]);
    assert_eq!(found[0], OUTCOME_DONE);
    let functions = &found[2..2 + usize::try_from(found[1]).unwrap()];
    let function = functions.iter().find(|function| *function & 0xFFFF == device_id);
    function.unwrap_or_else(|| panic!("{device_id:#x} is not among {functions:x?}")) >> 16
}

/// Six times, with some progress in between.
fn moved_again_and_again(mut guest: DriverVm, dir: &Path) -> DriverVm {
    for number in 0..6 {
        let then = guest.progress(0);
        embedded::until(
            "the guest going on",
            || guest.is_done(0) || guest.progress(0) != then,
            || format!("{:?} {:?}", guest.vm.vmm.info(), guest.vm.vmm.counters()),
        );
        guest = guest.moved(&dir.join(format!("snapshot{number}")));
    }
    guest
}

#[test]
fn what_a_guest_writes_to_its_disk_it_reads_back_though_it_is_moved_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(1, |config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = slot_of(&mut guest, 0x1042);
    let verify = Pattern::Verify as u64;
    guest.begin(0, Command::Block, &[slot, 2000, 4096, 8, SECTORS, verify, 4711]);
    let guest = moved_again_and_again(guest, dir.path());
    let results = guest.end(0);
    assert_eq!(results[0], OUTCOME_DONE, "{results:?}");
    assert!(results[1] >= 2000, "{results:?}");
}

#[test]
fn cards_are_in_the_slots_that_they_had_and_new_ones_find_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(1, |config| {
        config.disks.push(image(dir.path(), "disk.raw"));
        config.rng = Some(RngConfig::default());
        config.watchdog = true;
    });
    let disk = slot_of(&mut guest, 0x1042);
    // The disk leaves, so that the others are where no new machine would put them.
    guest.vm.vmm.remove_device("_disk0").unwrap();
    assert_eq!(guest.run(0, Command::Eject, &[1 << disk])[0], OUTCOME_DONE);
    // Until all of it has ended, nothing of the VM can be saved.
    let destination_url = format!("file://{}", dir.path().join("trial").display());
    let trial = SnapshotConfig { destination_url, live: false, base_url: None };
    let has_ended = || match guest.vm.vmm.snapshot(trial.clone()) {
        Ok(()) => true,
        Err(ControlError::Busy(_)) => false,
        other => panic!("{other:?}"),
    };
    embedded::until("the disk's end", has_ended, || format!("{:?}", guest.vm.vmm.info()));
    let rng = slot_of(&mut guest, 0x1044);
    let places = |guest: &DriverVm| -> Vec<_> {
        let tree = guest.vm.vmm.info().unwrap().device_tree;
        tree.into_iter().map(|(id, node)| (id, node.pci_bdf)).collect()
    };
    let before = places(&guest);
    let mut guest = guest.moved(&dir.path().join("snapshot"));
    assert_eq!(places(&guest), before);
    assert_eq!(slot_of(&mut guest, 0x1044), rng);
    let added = guest.vm.vmm.add_disk(image(dir.path(), "other.raw")).unwrap();
    assert!(matches!(added, Added::Plugged(_)), "{added:?}");
    assert_eq!(slot_of(&mut guest, 0x1042), disk);
}

#[test]
fn a_queue_is_reset_with_requests_in_flight_in_one_machine_after_the_other() {
    const ROUNDS: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(1, |config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = slot_of(&mut guest, 0x1042);
    guest.begin(0, Command::ResetQueue, &[slot, ROUNDS, 4711]);
    let guest = moved_again_and_again(guest, dir.path());
    let results = guest.end(0);
    assert_eq!(results[..2], [OUTCOME_DONE, ROUNDS], "{results:?}");
    assert_eq!(guest.vm.counter("_disk0", "failures"), 0);
}

#[test]
fn a_device_that_is_reset_activated_and_moved_on_the_bus_all_the_time_goes_on_in_the_next_machine()
{
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(2, |config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = slot_of(&mut guest, 0x1042);
    guest.begin_together([0, 1], slot, storm::MOVE_BAR, 4711);
    let guest = moved_again_and_again(guest, dir.path());
    guest.stop(0);
    for vcpu in [0, 1] {
        let results = guest.end(vcpu);
        assert_eq!(results[0], OUTCOME_DONE, "{results:?}");
    }
    assert_eq!(guest.vm.counter("_disk0", "failures"), 0);
}

#[test]
fn a_device_that_is_reset_activated_and_used_all_the_time_goes_on_in_the_next_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(1, |config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = slot_of(&mut guest, 0x1042);
    let all = storm::WINDOW | storm::MOVE_BAR | storm::REQUESTS;
    guest.begin(0, Command::Storm, &[slot, all, 4711]);
    let guest = moved_again_and_again(guest, dir.path());
    guest.stop(0);
    let results = guest.end(0);
    assert_eq!(results[0], OUTCOME_DONE, "{results:?}");
    assert_eq!(guest.vm.counter("_disk0", "failures"), 0);
}
