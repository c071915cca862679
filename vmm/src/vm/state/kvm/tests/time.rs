//! Time in the other VM.

use rustix::time::ClockId;
use vm_memory::{Bytes, GuestAddress};

use super::bed::{moment, until};
use super::timers::{DATA, await_loops, booted};
use super::{Bed, is_there_kvm};
use crate::vm::Start;
use crate::vm::state::kvm::clock::nanoseconds;
use crate::vm::state::kvm::msrs;

/// kvmclock, and real time before and after.
fn clock(bed: &Bed) -> (u64, u64, u64) {
    let before = nanoseconds(ClockId::Realtime);
    let clock = bed.vm.kvm.get_clock().unwrap().clock;
    (clock, before, nanoseconds(ClockId::Realtime))
}

#[test]
fn the_clock_goes_on_with_real_time() {
    /// What clocks that are disciplined may differ by.
    const SLEW: u64 = 1_000_000;
    if !is_there_kvm() {
        return;
    }
    let mut bed = Bed::embedded(1, "mode=busy");
    bed.vm.pause().unwrap();
    let (first, before, after) = clock(&bed);
    let state = bed.saved();
    moment(30_000_000);
    let next = bed.restored(Start::Restore { ram: None }, &state).unwrap();
    let (second, then, later) = clock(&next);
    let passed = second - first;
    assert!(passed + SLEW >= then - after, "{passed} ns, of at least {}", then - after);
    assert!(passed <= later - before + SLEW, "{passed} ns, of at most {}", later - before);
}

/// The time-stamp counters, read one after the other.
fn counters(bed: &Bed) -> Vec<u64> {
    let still = bed.vm.held.as_ref().unwrap();
    let counter = |vcpu| {
        let handle = bed.vm.threads.handle(vcpu).unwrap();
        msrs::get_one(handle.still(still).unwrap(), msrs::TSC).unwrap().unwrap()
    };
    (0..bed.config.cpus.boot_vcpus).map(counter).collect()
}

#[test]
fn counters_go_on_and_agree() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = Bed::embedded(3, "mode=busy");
    for _ in 0..3 {
        bed.vm.pause().unwrap();
        let before = counters(&bed);
        let state = bed.saved();
        let mut next = bed.another(&state);
        let after = [counters(&next), counters(&next)].concat();
        assert!(after.is_sorted(), "they do not agree: {after:?}");
        assert!(before.is_sorted() && before[2] < after[0], "{before:?} {after:?}");
        next.go();
        bed = next;
    }
}

#[test]
fn a_guest_with_a_kvmclock_is_told_at_every_resume() {
    #[rustfmt::skip]
    const KVMCLOCK: &[u8] = &[
        0xB9, 0x01, 0x4D, 0x56, 0x4B,   // mov ecx, 4B564D01h
        0xB8, 0x01, 0x01, 0x30, 0x00,   // mov eax, 300101h
        0x31, 0xD2,                     // xor edx, edx
        0x0F, 0x30,                     // wrmsr
    ];
    /// The flags of `pvclock_vcpu_time_info`, and PVCLOCK_GUEST_STOPPED (arch/x86/include/asm/pvclock-abi.h).
    const FLAGS: GuestAddress = GuestAddress(DATA + 0x100 + 29);
    const STOPPED: u8 = 1 << 1;
    if !is_there_kvm() {
        return;
    }
    let is_told = |bed: &Bed| bed.memory().read_obj::<u8>(FLAGS).unwrap() & STOPPED != 0;
    // As the guest does when it has heard.
    let hears = |bed: &Bed| bed.memory().write_obj(0_u8, FLAGS).unwrap();
    let mut bed = booted(KVMCLOCK);
    await_loops(&bed);
    for _ in 0..3 {
        bed.vm.pause().unwrap();
        hears(&bed);
        bed.go();
        until("word of the pause", || is_told(&bed));
        bed.vm.pause().unwrap();
        hears(&bed);
        let state = bed.saved();
        let mut next = bed.another(&state);
        assert!(!is_told(&next));
        next.go();
        until("word of the restore", || is_told(&next));
        bed = next;
    }
}
