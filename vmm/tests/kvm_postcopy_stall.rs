//! VMs whose memory does not come, on real KVM: the link stands still, or breaks while vCPUs and devices' workers wait for it.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;
mod stall;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::spawn;

use embedded::until;
use migration_bed::state;
use stall::{Stalled, do_meanwhile, finish, stalled};
use vmm::control::{VmState, VmmControl};
use vmm::migration::TransferState;

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
