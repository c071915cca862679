//! VMs whose memory does not come, on real KVM: the link stands still, or breaks while vCPUs and devices' workers wait for it.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{JoinHandle, spawn};

use embedded::disk::{DISK, SECTORS, image};
use embedded::driver::DriverVm;
use embedded::until;
use migration_bed::gates::Gates;
use migration_bed::{Destination, Result, send, state};
use stillpoint_guest::driver::{Command, Pattern};
use vmm::config::{MemoryMode, SendMigrationConfig};
use vmm::control::{VmState, Vmm, VmmControl};
use vmm::migration::TransferState;

fn later(url: &str) -> SendMigrationConfig {
    let memory_mode = MemoryMode::Postcopy;
    SendMigrationConfig { memory_mode, precopy_rounds: 0, ..SendMigrationConfig::to(url) }
}

/// A guest whose second vCPU has a disk at work, and whose first rewrites and checks its memory.
fn at_work(directory: &std::path::Path) -> DriverVm {
    let disk = image(directory, "disk");
    let mut guest = DriverVm::boot(2, |config| config.disks.push(disk));
    let slot = guest.slot_of(DISK);
    guest.begin(0, Command::Patrol, &[1000, 7, 0]);
    guest.begin(1, Command::Block, &[slot, 1 << 40, 4096, 8, SECTORS, Pattern::Verify as u64, 5]);
    let works = || guest.progress(0) > 1;
    until("the guest", works, || format!("{:?}", guest.results(1)));
    guest
}

/// A VM that was let go in a VMM that has next to nothing of its memory, over a link that carries no page.
struct Stalled {
    _guest: DriverVm,
    destination: Destination,
    sent: JoinHandle<Result>,
    gates: Arc<Gates>,
    carrier: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

fn stalled() -> Stalled {
    let directory = tempfile::tempdir().unwrap();
    let guest = at_work(directory.path());
    // So that both vCPUs and the disk's worker begin there with pages that are missing.
    guest.vm.vmm.pause().unwrap();
    let destination = Destination::waiting(2, None);
    let path = guest.vm.path("gates");
    let (gates, carrier) = Gates::open(&path, &destination.url);
    let sent = send(&guest.vm, later(&format!("unix:{}", path.display())));
    let is_there = || state(&destination.vm) == Some(VmState::Paused);
    until("the VM", is_there, || format!("{:?}", destination.vm.vmm.info()));
    gates.hold_urgent.store(true, Ordering::Relaxed);
    let asked = gates.requests.load(Ordering::Relaxed);
    drop(destination.vm.vmm.resume().unwrap());
    // A request that is more than a beat, and that nothing answers.
    let waits = || gates.requests.load(Ordering::Relaxed) >= asked + 14;
    until("somebody to wait", waits, || format!("{:?}", destination.vm.vmm.info()));
    assert!(destination.vm.vmm.info().unwrap().memory_missing_bytes.unwrap() > 0);
    Stalled { _guest: guest, destination, sent, gates, carrier, _directory: directory }
}

/// Does something to the VM while the link stands still, and returns when it is done.
fn do_meanwhile(stalled: &Stalled, what: impl FnOnce(&Vmm) + Send + 'static) {
    let vmm = Arc::clone(&stalled.destination.vm.vmm);
    let done = spawn(move || what(&vmm));
    until(
        "the end of it",
        || done.is_finished(),
        || format!("{:?}", stalled.destination.vm.vmm.info()),
    );
    done.join().unwrap();
    assert!(stalled.gates.hold_urgent.load(Ordering::Relaxed), "nothing has come meanwhile");
}

/// Both ends come to an end.
fn finish(stalled: Stalled) {
    stalled.gates.open_all();
    // The source hears that nothing more is needed, or that the link has ended.
    let _ = stalled.sent.join().unwrap();
    let (there, received) = stalled.destination.join();
    let _ = received;
    stalled.carrier.join().unwrap();
    drop(there);
}

#[test]
fn a_vm_whose_memory_stalls_is_shut_down_while_the_link_stands_still() {
    let stalled = stalled();
    do_meanwhile(&stalled, |vmm| vmm.shutdown().unwrap());
    assert_eq!(state(&stalled.destination.vm), Some(VmState::Shutdown));
    finish(stalled);
}

#[test]
fn a_vm_whose_memory_stalls_is_deleted_while_the_link_stands_still() {
    let stalled = stalled();
    do_meanwhile(&stalled, |vmm| vmm.delete().unwrap());
    assert_eq!(state(&stalled.destination.vm), None);
    finish(stalled);
}

#[test]
fn a_vmm_whose_vms_memory_stalls_ends_while_the_link_stands_still() {
    let stalled = stalled();
    do_meanwhile(&stalled, |vmm| vmm.vmm_shutdown().unwrap());
    finish(stalled);
}

/// A KVM that a signal gets out of its wait pauses at once; of any other the pause is taken back at its deadline.
#[test]
fn a_pause_while_the_link_stands_still_is_done_or_says_why_not_and_the_vm_is_as_it_was() {
    let stalled = stalled();
    let there = &stalled.destination.vm.vmm;
    let vmm = Arc::clone(there);
    let pausing = spawn(move || vmm.pause());
    let mut looks = 0;
    let is_over = || {
        // Others are answered meanwhile.
        looks += 1;
        assert!(there.info().unwrap().memory_missing_bytes.unwrap() > 0);
        assert_eq!(there.migration_progress().unwrap().state, TransferState::Filling);
        there.counters().unwrap();
        pausing.is_finished()
    };
    until("the pause", is_over, || format!("{:?}", there.info()));
    assert!(looks > 0 && stalled.gates.hold_urgent.load(Ordering::Relaxed));
    match pausing.join().unwrap() {
        Ok(()) => assert_eq!(state(&stalled.destination.vm), Some(VmState::Paused)),
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("bytes of its memory are still to come"), "{said}");
            let info = there.info().unwrap();
            assert_eq!(info.state, VmState::Running);
            assert!(info.vcpus.iter().all(|vcpu| !vcpu.state.contains("PAUSE")), "{info:?}");
        }
    }
    do_meanwhile(&stalled, |vmm| vmm.shutdown().unwrap());
    finish(stalled);
}

/// Somebody waits for pages, a vCPU or the disk's worker, and there is nobody left to bring them.
#[test]
fn a_link_that_breaks_while_pages_are_waited_for_ends_the_vm_and_the_vmm_answers() {
    let Stalled { destination, sent, gates, carrier, _guest, _directory } = stalled();
    gates.cut();
    let there = &destination.vm.vmm;
    let has_ended = || state(&destination.vm) == Some(VmState::Shutdown);
    until("the end", has_ended, || format!("{:?}", there.info()));
    let said = there.info().unwrap().last_error.unwrap();
    assert!(said.contains("post-copy was interrupted"), "{said}");
    sent.join().unwrap().unwrap_err();
    carrier.join().unwrap();
    let (there, received) = destination.join();
    received.unwrap_err();
    // It is a VMM like any other.
    there.vmm.delete().unwrap();
    assert_eq!(state(&there), None);
}
