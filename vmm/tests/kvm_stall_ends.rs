//! A VM whose memory does not come is ended while a pause of it waits for that memory, on real KVM.
//!
//! A KVM that a signal gets out of its wait has paused by then: the end is that of a paused VM there. On any other, and where a worker waits, the pause would
//! last to its deadline, and the end behind it.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;
mod stall;

use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use embedded::until;
use migration_bed::{Result, state};
use stall::{Stalled, do_meanwhile, finish, stalled};
use vmm::control::{VmState, VmmControl};

/// Asks for a pause, and returns when vCPUs have been asked to stop.
fn pausing(stalled: &Stalled) -> JoinHandle<Result> {
    let there = &stalled.destination.vm.vmm;
    let vmm = Arc::clone(there);
    let pausing = spawn(move || vmm.pause());
    let is_asked = || {
        let info = there.info().unwrap();
        pausing.is_finished() || info.vcpus.iter().any(|vcpu| vcpu.state.contains("PAUSE"))
    };
    until("the pause", is_asked, || format!("{:?}", there.info()));
    pausing
}

/// It was done before the end came, or its user is told of that.
fn is_done_or_told(pausing: JoinHandle<Result>) {
    if let Err(error) = pausing.join().unwrap() {
        let said = error.to_string();
        assert!(said.contains("the VM is being ended"), "{said}");
    }
}

#[test]
fn a_pause_that_waits_for_memory_is_taken_short_by_a_shutdown() {
    let stalled = stalled();
    let pausing = pausing(&stalled);
    do_meanwhile(&stalled, |vmm| vmm.shutdown().unwrap());
    assert_eq!(state(&stalled.destination.vm), Some(VmState::Shutdown));
    is_done_or_told(pausing);
    finish(stalled);
}

#[test]
fn a_pause_that_waits_for_memory_is_taken_short_by_a_delete() {
    let stalled = stalled();
    let pausing = pausing(&stalled);
    do_meanwhile(&stalled, |vmm| vmm.delete().unwrap());
    assert_eq!(state(&stalled.destination.vm), None);
    is_done_or_told(pausing);
    finish(stalled);
}

#[test]
fn a_pause_that_waits_for_memory_is_taken_short_by_a_reboot() {
    let stalled = stalled();
    let pausing = pausing(&stalled);
    do_meanwhile(&stalled, |vmm| vmm.reboot().unwrap());
    assert_eq!(state(&stalled.destination.vm), Some(VmState::Running));
    is_done_or_told(pausing);
    finish(stalled);
}

#[test]
fn a_pause_that_waits_for_memory_is_taken_short_by_the_end_of_the_vmm() {
    let stalled = stalled();
    let pausing = pausing(&stalled);
    do_meanwhile(&stalled, |vmm| vmm.vmm_shutdown().unwrap());
    is_done_or_told(pausing);
    finish(stalled);
}

#[test]
fn a_pause_that_waits_for_memory_is_taken_short_by_a_link_that_breaks() {
    let stalled = stalled();
    let pausing = pausing(&stalled);
    stalled.gates.cut();
    is_done_or_told(pausing);
    let there = &stalled.destination.vm;
    let has_ended = || state(there) == Some(VmState::Shutdown);
    until("the end", has_ended, || format!("{:?}", there.vmm.info()));
    let said = there.vmm.info().unwrap().last_error.unwrap();
    assert!(said.contains("post-copy was interrupted"), "{said}");
    finish(stalled);
}
