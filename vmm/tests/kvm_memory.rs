//! virtio-mem on real KVM: memory is plugged, written, compared and unplugged by a guest that is paused again and again, and comes from and
//! goes back to the host.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::driver::{DriverVm, Results};
use stillpoint_guest::driver::{Command, HOT, OUTCOME_DATA, OUTCOME_DONE};
use vmm::config::{HotplugMethod, MEMORY_DEVICE, ResizeConfig};
use vmm::control::{ControlError, MemoryHotplugInfo, VmmControl};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 2 * MIB;
const PLUG: u64 = 0;
const UNPLUG: u64 = 1;
const UNPLUG_ALL: u64 = 2;
const STATE: u64 = 3;
const ACK: u64 = 0;
const NACK: u64 = 1;

/// A guest to which 256 MiB may be plugged, and so many are to be.
fn boot(requested: u64) -> (DriverVm, u64) {
    let guest = DriverVm::boot(1, |config| {
        config.memory.hotplug_method = HotplugMethod::VirtioMem;
        config.memory.hotplug_size = Some(256 * MIB);
        config.memory.hotplugged_size = Some(requested);
    });
    let tree = guest.vm.vmm.info().unwrap().device_tree;
    let slot = tree[MEMORY_DEVICE].pci_bdf.unwrap().device;
    (guest, slot.into())
}

/// Has the guest do something, pausing it all the time.
fn run(guest: &mut DriverVm, command: Command, arguments: &[u64]) -> Results {
    guest.begin(0, command, arguments);
    while !guest.is_done(0) {
        guest.vm.vmm.pause().unwrap();
        let (then, taken) = (guest.progress(0), taken(guest));
        assert_eq!((guest.progress(0), self::taken(guest)), (then, taken), "time stands still");
        drop(guest.vm.vmm.resume().unwrap());
        // Back to back, pauses leave a vCPU no time to wake.
        let _ = guest.vm.vmm.wait_in_guest(vcpu_state::Deadline::After(embedded::HANG));
    }
    guest.end(0)
}

/// Has the device do something: the answer, the state, and what the configuration says then is plugged and is to be.
fn ask(guest: &mut DriverVm, slot: u64, kind: u64, first: u64, blocks: u64) -> [u64; 4] {
    let results = run(guest, Command::Memory, &[slot, kind, HOT + first * BLOCK, blocks]);
    assert_eq!(results[0], OUTCOME_DONE, "{results:?}");
    [results[1], results[2], results[3], results[4]]
}

/// Bytes that the host has given for the VM's memory.
fn taken(guest: &DriverVm) -> u64 {
    let machine = guest.vm.machine();
    // Blocks of 512 bytes.
    u64::try_from(rustix::fs::fstat(machine.ram.memfd().unwrap()).unwrap().st_blocks).unwrap() * 512
}

fn info(guest: &DriverVm) -> (MemoryHotplugInfo, u64) {
    let info = guest.vm.vmm.info().unwrap();
    let hotplug = info.memory_hotplug.unwrap();
    assert_eq!(info.config.memory.requested(), hotplug.requested_size);
    assert_eq!(info.memory_actual_size, info.config.memory.size + hotplug.plugged_size);
    (hotplug, info.config.memory.size)
}

fn resize(guest: &DriverVm, desired_ram: u64) -> Result<(), ControlError> {
    let resize = ResizeConfig { desired_ram: Some(desired_ram), ..ResizeConfig::default() };
    guest.vm.vmm.resize(resize)
}

#[test]
fn memory_is_plugged_used_and_unplugged_while_the_vm_is_paused_again_and_again() {
    let (mut guest, slot) = boot(128 * MIB);
    // What the guest needs for itself is there after this.
    assert_eq!(ask(&mut guest, slot, STATE, 0, 128)[..2], [ACK, 1]);
    let before = taken(&guest);
    for seed in 1..3 {
        let [answer, _, plugged, requested] = ask(&mut guest, slot, PLUG, 3, 48);
        assert_eq!([answer, plugged, requested], [ACK, 96 * MIB, 128 * MIB]);
        assert_eq!(info(&guest).0.plugged_size, 96 * MIB);
        let all = [HOT + 3 * BLOCK, 96 * MIB];
        for (command, seed) in
            [(Command::Compare, 0), (Command::Fill, seed), (Command::Compare, seed)]
        {
            let results = run(&mut guest, command, &[all[0], all[1], seed]);
            assert_eq!(results[0], OUTCOME_DONE, "{command:?} {results:x?}");
        }
        assert!(taken(&guest) >= before + 96 * MIB, "{} after {before}", taken(&guest));

        // A part of it goes, the rest stays as it is.
        assert_eq!(ask(&mut guest, slot, UNPLUG, 10, 16)[..3], [ACK, 0, 64 * MIB]);
        assert_eq!(ask(&mut guest, slot, STATE, 3, 48)[..2], [ACK, 2]);
        for (first, blocks) in [(3, 7), (26, 25)] {
            let place = [HOT + first * BLOCK, blocks * BLOCK, seed];
            let results = run(&mut guest, Command::Compare, &place);
            assert_eq!(results[0], OUTCOME_DONE, "{results:x?}");
        }
        assert_eq!(ask(&mut guest, slot, UNPLUG_ALL, 0, 0)[..3], [ACK, 0, 0]);
        let now = taken(&guest);
        assert!(now < before + BLOCK, "{now} bytes are left, {before} were taken before");
    }
    assert_eq!(guest.vm.counter(MEMORY_DEVICE, "host_errors"), 0);
}

#[test]
fn a_resize_says_how_much_may_be_plugged_running_or_paused_and_nonsense_changes_nothing() {
    let (mut guest, slot) = boot(0);
    let (_, size) = info(&guest);
    assert_eq!(ask(&mut guest, slot, PLUG, 0, 1), [NACK, 0, 0, 0]);
    guest.vm.vmm.pause().unwrap();
    resize(&guest, size + 64 * MIB).unwrap();
    // One more before the guest has seen the first.
    resize(&guest, size + 32 * MIB).unwrap();
    drop(guest.vm.vmm.resume().unwrap());
    assert_eq!(ask(&mut guest, slot, PLUG, 0, 17), [NACK, 0, 0, 32 * MIB]);
    assert_eq!(ask(&mut guest, slot, PLUG, 0, 16), [ACK, 0, 32 * MIB, 32 * MIB]);

    let before = info(&guest);
    for (ram, expected) in [
        (0, "which stay"),
        (size - BLOCK, "which stay"),
        (size + MIB, "in multiples of 2MiB"),
        (size + 258 * MIB, "at most 256MiB can be plugged"),
        (u64::MAX, "at most 256MiB can be plugged"),
    ] {
        let error = resize(&guest, ram).unwrap_err();
        assert!(matches!(error, ControlError::InvalidConfig(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(info(&guest), before);
    }

    // The guest need not obey: what it has stays visible.
    resize(&guest, size).unwrap();
    let pending = MemoryHotplugInfo { requested_size: 0, plugged_size: 32 * MIB };
    assert_eq!(info(&guest).0, pending);
    assert_eq!(ask(&mut guest, slot, UNPLUG, 0, 16), [ACK, 0, 0, 0]);
}

#[test]
fn a_reboot_starts_with_nothing_plugged_and_as_much_asked_for() {
    let (mut guest, slot) = boot(64 * MIB);
    let (_, size) = info(&guest);
    assert_eq!(ask(&mut guest, slot, PLUG, 0, 32)[0], ACK);
    assert_eq!(run(&mut guest, Command::Fill, &[HOT, 64 * MIB, 7])[0], OUTCOME_DONE);
    resize(&guest, size + 32 * MIB).unwrap();

    guest.vm.vmm.reboot().unwrap();

    let started = MemoryHotplugInfo { requested_size: 32 * MIB, plugged_size: 0 };
    assert_eq!(info(&guest).0, started);
    assert!(taken(&guest) < 64 * MIB);
    guest.vm.vmm.shutdown().unwrap();
    assert_eq!(info(&guest).0, started);
    resize(&guest, size + 128 * MIB).unwrap();
    guest.vm.vmm.boot().unwrap();
    assert_eq!(info(&guest).0.requested_size, 128 * MIB);
}

#[test]
fn memory_that_is_not_plugged_can_be_touched_and_is_empty_when_it_is_plugged() {
    let (mut guest, slot) = boot(64 * MIB);
    let place = [HOT + 200 * MIB, 8 * MIB, 5];
    assert_eq!(run(&mut guest, Command::Fill, &place)[0], OUTCOME_DONE);
    assert_eq!(ask(&mut guest, slot, PLUG, 100, 4)[0], ACK);
    assert_eq!(run(&mut guest, Command::Compare, &place)[0], OUTCOME_DATA, "it was taken back");
    let zeros = [place[0], place[1], 0];
    assert_eq!(run(&mut guest, Command::Compare, &zeros)[0], OUTCOME_DONE);
}

#[test]
fn memory_that_is_faulted_in_ahead_is_so_when_it_is_plugged() {
    let mut guest = DriverVm::boot(1, |config| {
        config.memory.prefault = true;
        config.memory.shared = true;
        config.memory.hotplug_method = HotplugMethod::VirtioMem;
        config.memory.hotplug_size = Some(128 * MIB);
        config.memory.hotplugged_size = Some(128 * MIB);
    });
    let slot = guest.vm.vmm.info().unwrap().device_tree[MEMORY_DEVICE].pci_bdf.unwrap().device;
    // The RAM is all there.
    let before = taken(&guest);
    assert_eq!(ask(&mut guest, slot.into(), PLUG, 0, 64)[0], ACK);
    assert_eq!(taken(&guest), before + 128 * MIB);
    assert_eq!(ask(&mut guest, slot.into(), UNPLUG, 0, 64)[0], ACK);
    assert_eq!(taken(&guest), before);
}
