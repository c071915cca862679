//! A VM that was let go by post-copy in a VMM that has next to nothing of its memory, over a link that carries no page.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{JoinHandle, spawn};

use stillpoint_guest::driver::{Command, Pattern};
use vmm::config::{MemoryMode, SendMigrationConfig};
use vmm::control::{VmState, Vmm, VmmControl};

use crate::embedded::disk::{DISK, SECTORS, image};
use crate::embedded::driver::DriverVm;
use crate::embedded::until;
use crate::migration_bed::gates::Gates;
use crate::migration_bed::{Destination, Result, send, state};

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
pub struct Stalled {
    pub _guest: DriverVm,
    pub destination: Destination,
    pub sent: JoinHandle<Result>,
    pub gates: Arc<Gates>,
    pub carrier: JoinHandle<()>,
    pub _directory: tempfile::TempDir,
}

pub fn stalled() -> Stalled {
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
pub fn do_meanwhile(stalled: &Stalled, what: impl FnOnce(&Vmm) + Send + 'static) {
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
pub fn finish(stalled: Stalled) {
    stalled.gates.open_all();
    // The source hears that nothing more is needed, or that the link has ended.
    let _ = stalled.sent.join().unwrap();
    let (there, received) = stalled.destination.join();
    let _ = received;
    stalled.carrier.join().unwrap();
    drop(there);
}
