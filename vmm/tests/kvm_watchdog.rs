//! The watchdog on real KVM: a guest arms it, the host pauses the VM for longer than the guest asked for, and it fires only when the
//! guest has had that time.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::time::{Duration, Instant};

use embedded::{TestVm, tiny, until};
use vm_memory::{Bytes, GuestAddress};
use vmm::config::WATCHDOG_ID;
use vmm::control::{VmState, VmmControl};

/// Where the kernel below is told to stop reloading (a byte).
const STOP: u64 = tiny::LOAD + 0x800;
/// Where it says that it has, and has armed the watchdog for the last time (a byte).
const STOPPED: u64 = tiny::LOAD + 0x801;
/// The preload values that it arms the watchdog with then (32 bits).
const PRELOAD: u64 = tiny::LOAD + 0x808;
/// How often it has reloaded (64 bits).
const RELOADS: u64 = tiny::LOAD + 0x810;

/// Opens the registers for the next write: `mov word [rsi+0Ch], 80h` · `mov word [rsi+0Ch], 86h`.
const UNLOCK: [u8; 12] = [0x66, 0xC7, 0x46, 0x0C, 0x80, 0, 0x66, 0xC7, 0x46, 0x0C, 0x86, 0];
/// `mov word [rsi+0Ch], 100h`.
const RELOAD: [u8; 6] = [0x66, 0xC7, 0x46, 0x0C, 0, 1];

/// A kernel that finds the watchdog in slot 1, says `T`, or `U` if that says that it has expired, enables it with the longest time, and
/// reloads it until it is told to stop; then it arms it with the time that it is told, once, and spins.
fn kernel() -> Vec<u8> {
    let setup: &[&[u8]] = &[
        &[0xBB, 0x00, 0x80, 0x00, 0xF0],       // mov ebx, 0F0008000h
        &[0x66, 0xC7, 0x43, 0x04, 0x02, 0x00], // mov word [rbx+4], 2
        &[0x8B, 0x73, 0x10],                   // mov esi, [rbx+10h]
        &[0x83, 0xE6, 0xF0],                   // and esi, -16
        &[0x8B, 0x46, 0x0C],                   // mov eax, [rsi+0Ch]
        &[0xC1, 0xE8, 0x09],                   // shr eax, 9
        &[0x04, b'T'],                         // add al, 'T'
        &[0x66, 0xBA, 0xF8, 0x03, 0xEE],       // mov dx, 3F8h; out dx, al
        &[0xC6, 0x43, 0x68, 0x02],             // mov byte [rbx+68h], 2
    ];
    let turn: &[&[u8]] = &[
        &UNLOCK,
        &RELOAD,
        &[0x48, 0xFF, 0x04, 0x25, 0x10, 0x08, 0x20, 0x00], // inc qword [RELOADS]
        &[0x80, 0x3C, 0x25, 0x00, 0x08, 0x20, 0x00, 0x00], // cmp byte [STOP], 0
    ];
    let turn = turn.concat();
    // je back to the turn's begin.
    let back = -i8::try_from(turn.len() + 2).unwrap();
    let last: &[&[u8]] = &[
        &[0x74, back.cast_unsigned()],
        &[0x8B, 0x04, 0x25, 0x08, 0x08, 0x20, 0x00], // mov eax, [PRELOAD]
        &UNLOCK,
        &[0x89, 0x06], // mov [rsi], eax
        &UNLOCK,
        &[0x89, 0x46, 0x04], // mov [rsi+4], eax
        &UNLOCK,
        &RELOAD,
        &[0xC6, 0x04, 0x25, 0x01, 0x08, 0x20, 0x00, 0x01], // mov byte [STOPPED], 1
        &[0xF3, 0x90, 0xEB, 0xFC],                         // pause; jmp back
    ];
    [setup.concat(), turn, last.concat()].concat()
}

fn boot() -> TestVm {
    let vm = TestVm::tiny_with(&kernel(), |config| config.watchdog = true);
    vm.vmm.boot().unwrap();
    vm
}

fn load<T: vm_memory::ByteValued + Default>(vm: &TestVm, address: u64) -> T {
    vm.machine().ram.memory().read_obj(GuestAddress(address)).unwrap()
}

fn store<T: vm_memory::ByteValued>(vm: &TestVm, address: u64, value: T) {
    vm.machine().ram.memory().write_obj(value, GuestAddress(address)).unwrap();
}

fn goes_on(vm: &TestVm) {
    let then: u64 = load(vm, RELOADS);
    vm.await_that("reloads", |vm| load::<u64>(vm, RELOADS) > then + 10);
}

/// The guest's last time: twice this many milliseconds (or very nearly).
const STAGE: u32 = 1500;

#[test]
fn it_counts_the_guests_time_and_resets_a_guest_that_leaves_it_alone() {
    let vm = boot();
    vm.await_that("the guest", |vm| vm.output() == "T");
    goes_on(&vm);
    let tree = vm.vmm.info().unwrap().device_tree;
    assert_eq!(tree[WATCHDOG_ID].pci_bdf.unwrap().device, 1);
    assert_eq!(vm.counter(WATCHDOG_ID, "enabled"), 1);
    assert!(vm.counter(WATCHDOG_ID, "reloads") > 10);

    // Paused and resumed it goes on reloading, and nothing is made of it.
    for _ in 0..50 {
        vm.vmm.pause().unwrap();
        drop(vm.vmm.resume().unwrap());
    }
    goes_on(&vm);

    // It stops, with a few seconds to live, and is paused for longer.
    store(&vm, PRELOAD, STAGE);
    store(&vm, STOP, 1_u8);
    vm.await_that("the last reload", |vm| load::<u8>(vm, STOPPED) == 1);
    vm.vmm.pause().unwrap();
    let paused = Instant::now();
    let longer = Duration::from_millis(2 * u64::from(STAGE)) + Duration::from_secs(1);
    until("the time to pass", || paused.elapsed() > longer, String::new);
    assert_eq!(vm.counter(WATCHDOG_ID, "expiries"), 0);
    assert_eq!(vm.vmm.info().unwrap().state, VmState::Paused);
    assert_eq!(vm.output(), "T");
    drop(vm.vmm.resume().unwrap());

    // Then it fires: a new machine, whose guest learns why.
    vm.await_that("the reset", |vm| vm.output() == "TU");
    assert_eq!(vm.counter("guest", "watchdog_resets"), 1);
    assert_eq!(vm.vmm.info().unwrap().state, VmState::Running);
    goes_on(&vm);
    // A reset by anybody else is none of the watchdog's.
    vm.vmm.reboot().unwrap();
    vm.await_that("the reboot", |vm| vm.output() == "TUT");
    vm.vmm.delete().unwrap();
}

#[test]
fn a_vm_that_counts_can_be_ended_in_every_phase() {
    for end in [|vm: &TestVm| vm.vmm.shutdown(), |vm: &TestVm| vm.vmm.delete()] {
        for pause in [false, true] {
            let vm = boot();
            vm.await_that("the guest", |vm| vm.output() == "T");
            goes_on(&vm);
            if pause {
                vm.vmm.pause().unwrap();
            }
            end(&vm).unwrap();
        }
    }
}
