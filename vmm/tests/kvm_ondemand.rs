//! VMs that run before their memory has come out of a snapshot, on real KVM.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::os::unix::fs::FileExt;
use std::path::Path;

use embedded::TestVm;
use stillpoint_guest::layout;
use vmm::config::{MemoryRestoreMode, RestoreConfig, SnapshotConfig};
use vmm::control::{ControlError, VmState, VmmControl};

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn save(vm: &TestVm, path: &Path, base: Option<&Path>) {
    let base_url = base.map(url);
    vm.vmm.snapshot(SnapshotConfig { destination_url: url(path), live: false, base_url }).unwrap();
}

fn restore(vm: &TestVm, path: &Path, resume: bool) -> Result<(), ControlError> {
    let memory_restore_mode = MemoryRestoreMode::OnDemand;
    let from = RestoreConfig::of(&url(path));
    vm.vmm.restore(RestoreConfig { resume, memory_restore_mode, ..from })
}

fn await_all(vm: &TestVm) {
    vm.await_that("all memory", |vm| vm.vmm.info().unwrap().memory_missing_bytes.is_none());
}

/// What a mapped file cannot do: memory that others may see, and a snapshot that is gone.
#[test]
fn a_chain_comes_into_shared_memory_and_is_not_needed_any_longer_when_it_has() {
    let vm = TestVm::created(1, "mode=busy quiet");
    let mut config = vm.vmm.info().unwrap().config;
    config.memory.shared = true;
    config.memory.prefault = true;
    vm.vmm.delete().unwrap();
    vm.vmm.create(config).unwrap();
    vm.start();
    let [full, second, third] = ["full", "second", "third"].map(|name| vm.path(name));
    save(&vm, &full, None);
    vm.await_progress(layout::LINE_HEARTBEAT);
    save(&vm, &second, Some(&full));
    vm.vmm.pause().unwrap();
    save(&vm, &third, Some(&second));
    let memory = vm.memory();

    let restored = TestVm::none_yet(1);
    restore(&restored, &third, false).unwrap();
    assert!(memory == restored.memory(), "memory");
    await_all(&restored);
    assert!(restored.machine().ram.shareable_memfd().is_some());
    for path in [&full, &second, &third] {
        std::fs::remove_dir_all(path).unwrap();
    }
    drop(restored.vmm.resume().unwrap());
    restored.await_progress(layout::LINE_HEARTBEAT);
    let again = restored.path("again");
    save(&restored, &again, None);
    let last = TestVm::none_yet(1);
    restore(&last, &again, true).unwrap();
    // Saved while memory still comes.
    let early = last.path("early");
    save(&last, &early, None);
    last.await_progress(layout::LINE_HEARTBEAT);
    await_all(&last);
    let of_early = TestVm::none_yet(1);
    restore(&of_early, &early, true).unwrap();
    of_early.await_progress(layout::LINE_HEARTBEAT);
    assert_eq!(of_early.lines(layout::LINE_BAD_READS), [0]);
}

#[test]
fn a_vm_may_end_pause_and_begin_anew_while_its_memory_comes() {
    let vm = TestVm::boot(2, "mode=busy quiet");
    let path = vm.path("snapshot");
    save(&vm, &path, None);
    for round in 0..12 {
        let restored = TestVm::none_yet(2);
        restore(&restored, &path, true).unwrap();
        match round % 4 {
            0 => restored.vmm.delete().unwrap(),
            1 => {
                restored.vmm.reboot().unwrap();
                restored.await_up();
            }
            2 => {
                restored.vmm.pause().unwrap();
                drop(restored.vmm.resume().unwrap());
                restored.await_progress(layout::LINE_HEARTBEAT);
            }
            _ => drop(restored),
        }
    }
}

/// Whether it is found before the VM runs or after: it is named, and nobody ever sees zeros.
#[test]
fn a_damaged_page_ends_the_vm_with_a_report_that_names_it() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let path = vm.path("snapshot");
    save(&vm, &path, None);
    let file = std::fs::File::options().read(true).write(true).open(path.join("memory")).unwrap();
    let mut memory = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut memory, 0).unwrap();
    let data: Vec<_> = (0..memory.len()).filter(|at| memory[*at] != 0).collect();
    let mut ended = 0;
    for at in [data[0], data[data.len() / 2], data[data.len() - 1]] {
        file.write_all_at(&[memory[at] ^ 1], at as u64).unwrap();
        let restored = TestVm::none_yet(1);
        let report = if let Err(error) = restore(&restored, &path, true) {
            error.to_string()
        } else {
            ended += 1;
            let has_ended = |vm: &TestVm| vm.vmm.info().unwrap().state == VmState::Shutdown;
            restored.await_that("the end", has_ended);
            restored.vmm.info().unwrap().last_error.unwrap()
        };
        assert!(report.contains("guest memory cannot be had"), "{report}");
        assert!(report.contains("memory is damaged"), "{report}");
        file.write_all_at(&[memory[at]], at as u64).unwrap();
    }
    println!("{ended} of 3 were found when the VM ran already");
    let restored = TestVm::none_yet(1);
    restore(&restored, &path, true).unwrap();
    restored.await_progress(layout::LINE_HEARTBEAT);
}
