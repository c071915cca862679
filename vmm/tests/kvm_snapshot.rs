//! Snapshots and restores on real KVM: a VM is afterwards as it was, and what comes out of a snapshot is what went in.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::path::Path;

use embedded::TestVm;
use stillpoint_guest::{Mode, layout};
use vmm::config::{MemoryRestoreMode, RestoreConfig, SnapshotConfig};
use vmm::control::{ControlError, VmState, VmmControl};
use vmm::migration::{TransferKind, TransferState, inspect};

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn save(vm: &TestVm, path: &Path, base: Option<&Path>) -> Result<(), ControlError> {
    let base_url = base.map(url);
    vm.vmm.snapshot(SnapshotConfig { destination_url: url(path), live: false, base_url })
}

fn restore(vm: &TestVm, path: &Path, resume: bool) -> Result<(), ControlError> {
    restore_by(vm, path, resume, MemoryRestoreMode::Copy)
}

fn restore_by(
    vm: &TestVm,
    path: &Path,
    resume: bool,
    memory_restore_mode: MemoryRestoreMode,
) -> Result<(), ControlError> {
    vm.vmm.restore(RestoreConfig { resume, memory_restore_mode, ..RestoreConfig::of(&url(path)) })
}

fn state(vm: &TestVm) -> VmState {
    vm.vmm.info().unwrap().state
}

/// The field that rises in a mode.
fn progress(mode: Mode) -> u64 {
    match mode {
        Mode::Halt => layout::LINE_TICKS,
        Mode::Busy | Mode::Busy0 => layout::LINE_HEARTBEAT,
        Mode::Io => layout::LINE_PIO,
        Mode::Mmio => layout::LINE_MMIO,
    }
}

#[test]
fn a_running_vm_goes_on_and_so_does_what_is_restored() {
    for mode in Mode::ALL {
        let tick = if mode == Mode::Halt { 50 } else { 0 };
        let vm = TestVm::boot(2, &format!("mode={} tick={tick} quiet", mode.name()));
        let path = vm.path("snapshot");
        save(&vm, &path, None).unwrap();
        assert_eq!(state(&vm), VmState::Running);
        vm.await_progress(progress(mode));
        let then = vm.lines(progress(mode));

        let restored = TestVm::none_yet(2);
        restore(&restored, &path, true).unwrap();
        assert_eq!(state(&restored), VmState::Running);
        restored.await_progress(progress(mode));
        assert_eq!(restored.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
        // It began where the other stood, and the other is not disturbed by it.
        vm.await_progress(progress(mode));
        assert!(vm.lines(progress(mode)).iter().zip(&then).all(|(now, then)| now > then));
        let info = restored.vmm.info().unwrap();
        assert_eq!(info.vcpus.len(), 2);
        assert!(info.boot_us.is_some());
    }
}

#[test]
fn a_snapshot_of_a_vm_that_runs_on_is_that_of_one_moment() {
    for mode in Mode::ALL {
        let tick = if mode == Mode::Halt { 50 } else { 0 };
        let vm = TestVm::boot(2, &format!("mode={} tick={tick} quiet", mode.name()));
        let [full, next] = ["full", "next"].map(|name| vm.path(name));
        let live = |path: &Path, base: Option<&Path>| {
            let base_url = base.map(url);
            let config = SnapshotConfig { destination_url: url(path), live: true, base_url };
            vm.vmm.snapshot(config).unwrap();
            assert_eq!(state(&vm), VmState::Running);
            vm.await_progress(progress(mode));
        };
        live(&full, None);
        live(&next, Some(&full));
        for path in [full, next] {
            let restored = TestVm::none_yet(2);
            restore(&restored, &path, true).unwrap();
            restored.await_progress(progress(mode));
            assert_eq!(restored.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
        }
        // The log that it needed is off again: another one can be had.
        vm.vmm.pause().unwrap();
        drop(vm.vmm.live_memory().unwrap().start_log().unwrap());
        live_of_a_paused_vm(&vm);
    }
}

fn live_of_a_paused_vm(vm: &TestVm) {
    let path = vm.path("paused");
    let config = SnapshotConfig { destination_url: url(&path), live: true, base_url: None };
    vm.vmm.snapshot(config).unwrap();
    assert_eq!(state(vm), VmState::Paused);
    let restored = TestVm::none_yet(2);
    restore(&restored, &path, false).unwrap();
    assert!(vm.memory() == restored.memory(), "memory");
}

#[test]
fn a_paused_vm_stays_paused_and_every_byte_comes_back() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    vm.vmm.pause().unwrap();
    let memory = vm.memory();
    let [first, second] = ["first", "second"].map(|name| vm.path(name));
    save(&vm, &first, None).unwrap();
    assert_eq!(state(&vm), VmState::Paused);
    assert!(memory == vm.memory(), "a snapshot changes nothing");

    let restored = TestVm::none_yet(1);
    restore(&restored, &first, false).unwrap();
    assert_eq!(state(&restored), VmState::Paused);
    assert!(memory == restored.memory(), "memory");
    // What was restored is as good as what was saved.
    save(&restored, &second, None).unwrap();
    let units = [&first, &second].map(|path| {
        let info = inspect(path).unwrap();
        info.units.into_iter().map(|(name, version, _)| (name, version)).collect::<Vec<_>>()
    });
    assert_eq!(units[0], units[1]);
    assert!(!units[0].is_empty());
    drop(restored.vmm.resume().unwrap());
    restored.await_progress(layout::LINE_HEARTBEAT);
    drop(vm.vmm.resume().unwrap());
    vm.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn a_difference_is_restored_with_what_it_builds_on() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let [full, second, third] = ["full", "second", "third"].map(|name| vm.path(name));
    save(&vm, &full, None).unwrap();
    vm.await_progress(layout::LINE_HEARTBEAT);
    save(&vm, &second, Some(&full)).unwrap();
    vm.await_progress(layout::LINE_HEARTBEAT);
    vm.vmm.pause().unwrap();
    save(&vm, &third, Some(&second)).unwrap();

    let info = inspect(&third).unwrap();
    assert_eq!(info.bases.len(), 2);
    assert!(info.data_bytes < info.memory_bytes / 16, "{info:?}");
    assert!(inspect(&full).unwrap().bases.is_empty());
    for mode in [MemoryRestoreMode::Copy, MemoryRestoreMode::OnDemand] {
        let restored = TestVm::none_yet(1);
        restore_by(&restored, &third, false, mode).unwrap();
        assert!(vm.memory() == restored.memory(), "memory");
        drop(restored.vmm.resume().unwrap());
        restored.await_progress(layout::LINE_HEARTBEAT);
        // Saved again, sent on: it is a VM like any other.
        let name = format!("again-{mode:?}");
        save(&restored, &restored.path(&name), None).unwrap();
        let again = TestVm::none_yet(1);
        restore_by(&again, &restored.path(&name), true, mode).unwrap();
        again.await_progress(layout::LINE_HEARTBEAT);
    }

    // Without its base it is nothing.
    std::fs::remove_dir_all(&full).unwrap();
    let refused = restore(&TestVm::none_yet(1), &third, false).unwrap_err().to_string();
    assert!(refused.contains("full has no manifest"), "{refused}");
}

#[test]
fn what_cannot_be_saved_or_restored_changes_nothing_and_is_told() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let path = vm.path("snapshot");
    let there = vm.path("there");
    std::fs::create_dir(&there).unwrap();
    let missing = vm.path("missing");
    for (path, base, expected) in [
        (&there, None, "is there already"),
        (&missing.join("deeper"), None, "No such file"),
        (&path, Some(&missing), "has no manifest"),
    ] {
        let error = save(&vm, path, base.map(AsRef::as_ref)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(state(&vm), VmState::Running);
        vm.await_progress(layout::LINE_HEARTBEAT);
        let progress = vm.vmm.migration_progress().unwrap();
        assert_eq!(
            (progress.kind, progress.state),
            (TransferKind::Snapshot, TransferState::Failed)
        );
        assert_eq!(progress.error, Some(error));
    }
    for wrong in ["relative", "http:///x", "/x"] {
        let config =
            SnapshotConfig { destination_url: wrong.to_owned(), live: false, base_url: None };
        let error = vm.vmm.snapshot(config).unwrap_err();
        assert!(matches!(error, ControlError::InvalidConfig(_)), "{error}");
    }
    save(&vm, &path, None).unwrap();
    assert!(matches!(restore(&vm, &path, true), Err(ControlError::AlreadyCreated)));

    let none = TestVm::none_yet(1);
    assert!(matches!(save(&none, &there, None), Err(ControlError::NotCreated)));
    let damage = |file: &str, expected: &str| {
        let file = path.join(file);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        let middle = bad.iter().position(|byte| *byte != 0).unwrap() + 30;
        bad[middle] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let error = restore(&none, &path, true).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(matches!(none.vmm.info(), Err(ControlError::NotCreated)));
        std::fs::write(&file, good).unwrap();
    };
    damage("config.json", "config.json is damaged");
    damage("state", "state is damaged");
    damage("memory", "memory is damaged");
    damage("manifest", "manifest");
    std::fs::rename(&path, vm.path("snapshot.incomplete")).unwrap();
    let error = restore(&none, &vm.path("snapshot.incomplete"), true).unwrap_err().to_string();
    assert!(error.contains("is an incomplete snapshot"), "{error}");
    // After all that, it can still be had.
    std::fs::rename(vm.path("snapshot.incomplete"), &path).unwrap();
    restore(&none, &path, true).unwrap();
    none.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn a_vm_that_was_shut_down_and_booted_again_is_saved_like_any_other() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    vm.vmm.shutdown().unwrap();
    let path = vm.path("snapshot");
    let refused = save(&vm, &path, None).unwrap_err().to_string();
    assert!(refused.contains("it must be Running or Paused"), "{refused}");
    assert!(!path.exists());
    vm.start();
    save(&vm, &path, None).unwrap();
    let restored = TestVm::none_yet(1);
    restore(&restored, &path, true).unwrap();
    restored.await_progress(layout::LINE_HEARTBEAT);
    // It boots and reboots as if it had been made here.
    restored.vmm.reboot().unwrap();
    restored.await_up();
    restored.await_progress(layout::LINE_HEARTBEAT);
    restored.vmm.delete().unwrap();
    restore(&restored, &path, true).unwrap();
    restored.await_progress(layout::LINE_HEARTBEAT);
}
