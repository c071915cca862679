//! Devices of a VM that is saved while its guest uses them, on real KVM: the guest goes on, in another VMM, and checks its data.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::path::Path;
use std::sync::Arc;

use devices::bus::{AddressRange, Mmio};
use embedded::disk::{DISK, RNG, SECTORS, image};
use embedded::driver::DriverVm;
use stillpoint_guest::driver::{Command, OUTCOME_DONE, Pattern, storm};
use vcpu_state::{Deadline, Outcome};
use vmm::config::{RngConfig, SnapshotConfig};
use vmm::control::{Added, ControlError, VmmControl};
use vmm::memory::layout;
use vmm::vm::Machine;

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
    let slot = guest.slot_of(DISK);
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
    let disk = guest.slot_of(DISK);
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
    let rng = guest.slot_of(RNG);
    let places = |guest: &DriverVm| -> Vec<_> {
        let tree = guest.vm.vmm.info().unwrap().device_tree;
        tree.into_iter().map(|(id, node)| (id, node.pci_bdf)).collect()
    };
    let before = places(&guest);
    let mut guest = guest.moved(&dir.path().join("snapshot"));
    assert_eq!(places(&guest), before);
    assert_eq!(guest.slot_of(RNG), rng);
    let added = guest.vm.vmm.add_disk(image(dir.path(), "other.raw")).unwrap();
    assert!(matches!(added, Added::Plugged(_)), "{added:?}");
    assert_eq!(guest.slot_of(DISK), disk);
}

#[test]
fn a_queue_is_reset_with_requests_in_flight_in_one_machine_after_the_other() {
    const ROUNDS: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(1, |config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = guest.slot_of(DISK);
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
    let slot = guest.slot_of(DISK);
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
    let slot = guest.slot_of(DISK);
    let all = storm::WINDOW | storm::MOVE_BAR | storm::REQUESTS;
    guest.begin(0, Command::Storm, &[slot, all, 4711]);
    let guest = moved_again_and_again(guest, dir.path());
    guest.stop(0);
    let results = guest.end(0);
    assert_eq!(results[0], OUTCOME_DONE, "{results:?}");
    assert_eq!(guest.vm.counter("_disk0", "failures"), 0);
}

#[test]
fn a_bar_that_a_vcpu_has_just_moved_when_its_vm_is_held_answers_there_then_and_in_the_next_machine()
{
    const BAR0: u64 = 0x10;
    let dir = tempfile::tempdir().unwrap();
    let mut guest = DriverVm::boot(1, |config| config.disks.push(image(dir.path(), "disk.raw")));
    let slot = guest.slot_of(DISK);
    // The guest lets the device answer.
    let block = [slot, 50, 4096, 4, SECTORS, Pattern::Verify as u64, 4711];
    assert_eq!(guest.run(0, Command::Block, &block)[0], OUTCOME_DONE);

    let vmm = Arc::clone(&guest.vm.vmm);
    let still = vmm.stillness().unwrap().reach(Deadline::Never).unwrap();
    let machine = guest.vm.machine();
    let register = layout::ECAM.0 + (slot << 15) + BAR0;
    let mut was = [0; 4];
    machine.mmio.read(register, &mut was);
    let moved = u32::from_le_bytes(was) + 0x10_0000;
    // What a vCPU did in the exit before the one in which it stopped: its ticket is owed while the VM is held.
    let mut owed = None;
    machine.mmio.write(register, &moved.to_le_bytes(), |ticket| owed = Some(ticket));
    let group = vmm.group().unwrap();
    // The attendant is no worker: it is not held, and what it does is what the registers, which are saved, say already.
    assert_eq!(group.wait_ticket(&owed.unwrap(), Deadline::Never), Ok(Outcome::Done));
    let answers = |machine: &Machine| {
        let claims = machine.mmio.claims();
        let there = |(range, name): &(AddressRange<Mmio>, String)| {
            name == "_disk0" && range.first() & 0xFFFF_FFF0 == u64::from(moved & !0xF)
        };
        claims.iter().filter(|claim| there(claim)).count()
    };
    assert_eq!(answers(&machine), 1, "{:?}", machine.mmio.claims());

    // Once more, and nobody waits: the save does.
    machine.mmio.write(register, &was, |_| {});
    machine.mmio.write(register, &moved.to_le_bytes(), |_| {});
    drop(machine);
    let mut guest = guest.moved(&dir.path().join("snapshot"));
    drop(still);
    let machine = guest.vm.machine();
    assert_eq!(answers(&machine), 1, "{:?}", machine.mmio.claims());
    assert_eq!(guest.run(0, Command::Block, &block)[0], OUTCOME_DONE);
    assert_eq!(guest.vm.counter("pci", "bars_refused"), 0);
}
