//! Memory that comes after the VM, on real KVM: the VM runs without it, pauses without it, and ends if it does not come.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::sync::atomic::Ordering;

use embedded::TestVm;
use embedded::driver::DriverVm;
use migration_bed::gates::Gates;
use migration_bed::{Destination, goes_on, goes_on_as, in_mode, send, state};
use stillpoint_guest::Mode;
use stillpoint_guest::driver::{Command, OUTCOME_DONE};
use vmm::config::{MemoryMode, Resolution, ResolveConfig, SendMigrationConfig};
use vmm::control::{VmState, VmmControl};
use vmm::migration::TransferState;

fn later(url: &str, precopy_rounds: u32) -> SendMigrationConfig {
    let memory_mode = MemoryMode::Postcopy;
    SendMigrationConfig { memory_mode, precopy_rounds, ..SendMigrationConfig::to(url) }
}

/// A guest whose vCPUs rewrite and check their memory all the time.
fn patrolling(vcpus: u32) -> DriverVm {
    let mut guest = DriverVm::boot(vcpus, |_| {});
    for vcpu in 0..vcpus as usize {
        guest.begin(vcpu, Command::Patrol, &[PAGES, 7 + vcpu as u64, 0]);
    }
    await_rounds(&guest, vcpus);
    guest
}

/// Pages that each of them has.
const PAGES: u64 = 1000;

/// Every vCPU checks all of its memory once more, from beginning to end.
fn await_rounds(guest: &DriverVm, vcpus: u32) {
    for vcpu in 0..vcpus as usize {
        let then = guest.progress(vcpu);
        let checked = || guest.is_done(vcpu) || guest.progress(vcpu) > then + 1;
        embedded::until("a round", checked, || format!("{:?}", guest.results(vcpu)));
        assert!(!guest.is_done(vcpu), "vCPU {vcpu}: {:x?}", guest.results(vcpu));
    }
}

#[test]
fn a_vm_goes_on_before_its_memory_has_come_and_finds_all_of_it() {
    for (mode, rounds) in Mode::ALL.into_iter().zip([0, 1].into_iter().cycle()) {
        let vm = in_mode(mode);
        let destination = Destination::waiting(2, None);
        vm.vmm.send_migration(later(&destination.url, rounds)).unwrap();
        assert_eq!(state(&vm), None, "nothing is left of it");
        let (arrived, received) = destination.join();
        received.unwrap();
        goes_on_as(&arrived, mode);
        let info = arrived.vmm.info().unwrap();
        assert_eq!((info.state, info.memory_missing_bytes), (VmState::Running, None));
        assert_eq!(vm.vmm.migration_progress().unwrap().state, TransferState::Completed);
        // It is a VM like any other: it goes on, and back.
        let back = Destination::waiting(2, None);
        arrived.vmm.send_migration(SendMigrationConfig::to(&back.url)).unwrap();
        let (back, received) = back.join();
        received.unwrap();
        goes_on_as(&back, mode);
    }
}

#[test]
fn a_paused_vm_has_every_byte_and_stays_paused() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    vm.vmm.pause().unwrap();
    let memory = vm.memory();
    let destination = Destination::waiting(1, None);
    vm.vmm.send_migration(later(&destination.url, 0)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    assert_eq!(state(&arrived), Some(VmState::Paused));
    assert!(memory == arrived.memory(), "memory");
    drop(arrived.vmm.resume().unwrap());
    goes_on(&arrived);
}

/// It writes all of its memory all the time: whatever the link carries, what is left is too much for the downtime.
#[test]
fn a_guest_that_pre_copy_cannot_move_is_moved_and_its_memory_is_right() {
    let mut guest = patrolling(4);
    let quick = |config: SendMigrationConfig| SendMigrationConfig {
        downtime_ms: 1,
        timeout_s: 1,
        ..config
    };
    let destination = Destination::waiting(4, None);
    let refused = guest.vm.vmm.send_migration(quick(SendMigrationConfig::to(&destination.url)));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("the expected downtime is"), "{refused}");
    assert!(destination.join().1.is_err());

    for rounds in [0, 2, 1] {
        let destination = Destination::waiting(4, None);
        guest.vm.vmm.send_migration(quick(later(&destination.url, rounds))).unwrap();
        let (arrived, received) = destination.join();
        received.unwrap();
        guest = guest.arrived(arrived);
        await_rounds(&guest, 4);
    }
    for vcpu in 0..4 {
        guest.stop(vcpu);
        assert_eq!(guest.end(vcpu)[0], OUTCOME_DONE);
    }
}

/// A guest in a VMM that has part of its memory, and waits for more.
struct Waiting {
    guest: DriverVm,
    destination: Destination,
    sent: std::thread::JoinHandle<migration_bed::Result>,
    gates: std::sync::Arc<Gates>,
    carrier: std::thread::JoinHandle<()>,
}

fn waiting() -> Waiting {
    let guest = patrolling(2);
    let destination = Destination::waiting(2, None);
    let path = guest.vm.path("gates");
    let (gates, carrier) = Gates::open(&path, &destination.url);
    let sent = send(&guest.vm, later(&format!("unix:{}", path.display()), 0));
    let runs = || state(&destination.vm) == Some(VmState::Running);
    embedded::until("the VM to go on", runs, || format!("{:?}", destination.vm.vmm.info()));
    // It runs before the source has heard of it.
    let serves =
        || guest.vm.vmm.migration_progress().is_ok_and(|it| it.state == TransferState::Serving);
    embedded::until("the source to know", serves, || format!("{:?}", guest.vm.vmm.info()));
    gates.hold_urgent.store(true, Ordering::Relaxed);
    // A request that is more than a beat, and that nothing answers.
    let asked = gates.requests.load(Ordering::Relaxed);
    let waits = || gates.requests.load(Ordering::Relaxed) >= asked + 14;
    embedded::until("a vCPU to wait", waits, || format!("{:?}", destination.vm.vmm.info()));
    assert!(destination.vm.vmm.info().unwrap().memory_missing_bytes.unwrap() > 0);
    Waiting { guest, destination, sent, gates, carrier }
}

/// A KVM that a signal does not get out of its wait for a page is waited for; nothing of the pause is lost meanwhile.
#[test]
fn a_pause_that_finds_vcpus_waiting_for_memory_is_done_when_that_comes() {
    let Waiting { guest, destination, sent, gates, carrier } = waiting();
    let vmm = std::sync::Arc::clone(&destination.vm.vmm);
    let pausing = std::thread::spawn(move || vmm.pause());
    let is_asked = || {
        let vcpus = destination.vm.vmm.info().unwrap().vcpus;
        vcpus.iter().all(|vcpu| vcpu.state.contains("PAUSE"))
    };
    embedded::until("the pause", is_asked, || format!("{:?}", destination.vm.vmm.info()));
    assert_eq!(destination.vm.vmm.migration_progress().unwrap().state, TransferState::Filling);
    assert_eq!(guest.vm.vmm.migration_progress().unwrap().state, TransferState::Serving);
    gates.open_all();
    pausing.join().unwrap().unwrap();
    assert_eq!(state(&destination.vm), Some(VmState::Paused));
    drop(destination.vm.vmm.resume().unwrap());
    sent.join().unwrap().unwrap();
    carrier.join().unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    let guest = guest.arrived(arrived);
    await_rounds(&guest, 2);
}

#[test]
fn a_vm_whose_memory_does_not_come_ends_and_the_source_says_that_it_must_not_go_on() {
    let Waiting { guest, destination, sent, gates, carrier } = waiting();
    gates.cut();
    let error = sent.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("must not go on"), "{error}");
    carrier.join().unwrap();
    let (there, received) = destination.join();
    let interrupted = received.unwrap_err().to_string();
    assert!(interrupted.contains("post-copy was interrupted"), "{interrupted}");
    let ended = || state(&there) == Some(VmState::Shutdown);
    embedded::until("the end", ended, || format!("{:?}", there.vmm.info()));
    let said = there.vmm.info().unwrap().last_error.unwrap();
    assert!(said.contains("post-copy was interrupted"), "{said}");

    let here = &guest.vm.vmm;
    assert_eq!(here.migration_progress().unwrap().state, TransferState::Stranded);
    assert_eq!(here.info().unwrap().last_error.unwrap(), error);
    here.resume().unwrap_err();
    let kept = here.migration_resolve(ResolveConfig { resolution: Resolution::Keep });
    assert!(kept.unwrap_err().to_string().contains("Resolve with drop"));
    assert_eq!(here.info().unwrap().state, VmState::Paused);
    here.migration_resolve(ResolveConfig { resolution: Resolution::Drop }).unwrap();
    assert_eq!(state(&guest.vm), None);
}

#[test]
fn a_user_who_ends_the_vm_while_memory_comes_has_it_ended_at_both_ends() {
    let Waiting { guest, destination, sent, gates, carrier } = waiting();
    let vmm = std::sync::Arc::clone(&destination.vm.vmm);
    let ending = std::thread::spawn(move || vmm.shutdown());
    let is_asked = || {
        let info = destination.vm.vmm.info().unwrap();
        info.vcpus.iter().all(|vcpu| vcpu.state.contains("KILLED"))
    };
    embedded::until("the end", is_asked, || format!("{:?}", destination.vm.vmm.info()));
    gates.open_all();
    ending.join().unwrap().unwrap();
    sent.join().unwrap().unwrap();
    let (there, received) = destination.join();
    received.unwrap();
    carrier.join().unwrap();
    assert_eq!(state(&there), Some(VmState::Shutdown));
    assert_eq!(state(&guest.vm), None);
}
