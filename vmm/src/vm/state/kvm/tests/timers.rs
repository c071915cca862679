//! Timers and non-maskable interrupts that were under way come in the other VM, and come once.

use stillpoint_guest::layout::{ACPI_PORT, ACPI_RESET};
use vcpu_state::Word;

use super::bed::{moment, tiny, until};
use super::{Bed, is_there_kvm};

/// Where the kernel below counts.
pub(super) const DATA: u64 = 0x30_0000;
const READY: u64 = DATA;
const LOOPS: u64 = DATA + 8;
const TICKS: u64 = DATA + 16;
const NMIS: u64 = DATA + 24;
const PIT_TICKS: u64 = DATA + 32;

#[rustfmt::skip]
const PREPARE: &[u8] = &[
    0x0F, 0x01, 0x1C, 0x25, 0x00, 0x02, 0x20, 0x00, // lidt [200200h]
    0xB9, 0x1B, 0x00, 0x00, 0x00,                   // mov ecx, 1Bh
    0x0F, 0x32,                                     // rdmsr
    0x0D, 0x00, 0x0C, 0x00, 0x00,                   // or eax, 0C00h: x2APIC
    0x0F, 0x30,                                     // wrmsr
    0xB9, 0x0F, 0x08, 0x00, 0x00,                   // mov ecx, 80Fh
    0xB8, 0xFF, 0x01, 0x00, 0x00,                   // mov eax, 1FFh: enabled
    0x31, 0xD2,                                     // xor edx, edx
    0x0F, 0x30,                                     // wrmsr
];

/// Four seconds of the local APIC's timer, once.
#[rustfmt::skip]
const ONCE: &[u8] = &[
    0xB9, 0x3E, 0x08, 0x00, 0x00,                   // mov ecx, 83Eh
    0xB8, 0x0B, 0x00, 0x00, 0x00,                   // mov eax, 0Bh: every count
    0x0F, 0x30,                                     // wrmsr
    0xB9, 0x32, 0x08, 0x00, 0x00,                   // mov ecx, 832h
    0xB8, 0x41, 0x00, 0x00, 0x00,                   // mov eax, 41h
    0x0F, 0x30,                                     // wrmsr
    0xB9, 0x38, 0x08, 0x00, 0x00,                   // mov ecx, 838h
    0xB8, 0x00, 0x28, 0x6B, 0xEE,                   // mov eax, 4000000000
    0x0F, 0x30,                                     // wrmsr
];

/// Ten thousand million ticks of the time-stamp counter.
#[rustfmt::skip]
const DEADLINE: &[u8] = &[
    0xB9, 0x32, 0x08, 0x00, 0x00,                   // mov ecx, 832h
    0xB8, 0x41, 0x00, 0x04, 0x00,                   // mov eax, 40041h
    0x0F, 0x30,                                     // wrmsr
    0x0F, 0x31,                                     // rdtsc
    0x48, 0xC1, 0xE2, 0x20,                         // shl rdx, 32
    0x48, 0x09, 0xD0,                               // or rax, rdx
    0x48, 0xBA, 0x00, 0xE4, 0x0B, 0x54, 0x02, 0, 0, 0, // mov rdx, 10000000000
    0x48, 0x01, 0xD0,                               // add rax, rdx
    0x48, 0x89, 0xC2,                               // mov rdx, rax
    0x48, 0xC1, 0xEA, 0x20,                         // shr rdx, 32
    0xB9, 0xE0, 0x06, 0x00, 0x00,                   // mov ecx, 6E0h
    0x0F, 0x30,                                     // wrmsr
];

/// The PIT's first channel at a hundred ticks a second, through the I/O APIC, at whichever of its pins it is.
#[rustfmt::skip]
const PIT: &[u8] = &[
    0xB0, 0xFF, 0xE6, 0x21, 0xE6, 0xA1,             // mov al, 0FFh; out 21h, al; out 0A1h, al
    0xBF, 0x00, 0x00, 0xC0, 0xFE,                   // mov edi, 0FEC00000h
    0xC7, 0x07, 0x10, 0, 0, 0,                      // mov dword ptr [rdi], 10h
    0xC7, 0x47, 0x10, 0x42, 0, 0, 0,                // mov dword ptr [rdi + 10h], 42h
    0xC7, 0x07, 0x11, 0, 0, 0,                      // mov dword ptr [rdi], 11h
    0xC7, 0x47, 0x10, 0, 0, 0, 0,                   // mov dword ptr [rdi + 10h], 0
    0xC7, 0x07, 0x14, 0, 0, 0,                      // mov dword ptr [rdi], 14h
    0xC7, 0x47, 0x10, 0x42, 0, 0, 0,                // mov dword ptr [rdi + 10h], 42h
    0xC7, 0x07, 0x15, 0, 0, 0,                      // mov dword ptr [rdi], 15h
    0xC7, 0x47, 0x10, 0, 0, 0, 0,                   // mov dword ptr [rdi + 10h], 0
    0xB0, 0x34, 0xE6, 0x43,                         // mov al, 34h; out 43h, al
    0xB0, 0x9C, 0xE6, 0x40,                         // mov al, 9Ch; out 40h, al
    0xB0, 0x2E, 0xE6, 0x40,                         // mov al, 2Eh; out 40h, al
];

#[rustfmt::skip]
const COUNT: &[u8] = &[
    0x48, 0xC7, 0xC3, 0x00, 0x00, 0x30, 0x00,       // mov rbx, 300000h
    0x48, 0xC7, 0xC0, 0x01, 0x00, 0x00, 0x00,       // mov rax, 1
    0x48, 0x89, 0x03,                               // mov [rbx], rax
    0xFB,                                           // sti
    0x48, 0xFF, 0x43, 0x08,                         // again: inc qword ptr [rbx + 8]
    0xEB, 0xFA,                                     // jmp again
];

/// Counts at this offset of the data, and ends the interrupt.
#[rustfmt::skip]
const fn interrupt(offset: u8) -> [u8; 28] {
    [
        0x50, 0x51, 0x52,                           // push rax; push rcx; push rdx
        0xB8, 0x00, 0x00, 0x30, 0x00,               // mov eax, 300000h
        0x48, 0xFF, 0x40, offset,                   // inc qword ptr [rax + offset]
        0xB9, 0x0B, 0x08, 0x00, 0x00,               // mov ecx, 80Bh
        0x31, 0xC0, 0x31, 0xD2,                     // xor eax, eax; xor edx, edx
        0x0F, 0x30,                                 // wrmsr
        0x5A, 0x59, 0x58,                           // pop rdx; pop rcx; pop rax
        0x48, 0xCF,                                 // iretq
    ]
}

#[rustfmt::skip]
const NMI: &[u8] = &[
    0x50,                                           // push rax
    0xB8, 0x00, 0x00, 0x30, 0x00,                   // mov eax, 300000h
    0x48, 0xFF, 0x40, 0x18,                         // inc qword ptr [rax + 18h]
    0x58,                                           // pop rax
    0x48, 0xCF,                                     // iretq
];

/// A kernel that does this, counts, and takes interrupts.
fn kernel(arm: &[u8]) -> Vec<u8> {
    let mut image = [PREPARE, arm, COUNT].concat();
    let handlers =
        [(0x180, 0x41, &interrupt(0x10)[..]), (0x1B0, 2, NMI), (0x1D0, 0x42, &interrupt(0x20))];
    assert!(image.len() <= 0x180);
    image.resize(0x1800, 0);
    image[0x200..0x202].copy_from_slice(&0x7FF_u16.to_le_bytes());
    image[0x202..0x20A].copy_from_slice(&0x20_1000_u64.to_le_bytes());
    for (at, vector, code) in handlers {
        image[at..at + code.len()].copy_from_slice(code);
        let gate = 0x1000 + 16 * vector;
        // At 200000h plus `at`, in the code segment of the boot protocol, an interrupt gate.
        let [low, high] = u16::try_from(at).unwrap().to_le_bytes();
        image[gate..gate + 8].copy_from_slice(&[low, high, 0x10, 0, 0, 0x8E, 0x20, 0]);
    }
    image
}

/// The kernel, counting.
pub(super) fn booted(arm: &[u8]) -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let bed = Bed::boot(tiny(directory.path(), &kernel(arm)));
    until("the kernel counting", || {
        assert_eq!(bed.ends.pop(), None);
        bed.word(READY) == 1 && bed.word(LOOPS) > 0
    });
    bed
}

/// Waits until it has gone on for a while.
pub(super) fn await_loops(bed: &Bed) {
    let then = bed.word(LOOPS);
    until("the kernel going on", || {
        assert_eq!(bed.ends.pop(), None);
        bed.word(LOOPS) > then + 1000
    });
}

fn fires_once_in_the_other(arm: &[u8], stand_still: i64) {
    if !is_there_kvm() {
        return;
    }
    let mut bed = booted(arm);
    bed.vm.pause().unwrap();
    assert_eq!(bed.word(TICKS), 0, "the host took seconds for a pause");
    for _ in 0..stand_still {
        moment(100_000_000);
    }
    let mut next = bed.another(&bed.saved());
    drop(bed);
    assert_eq!(next.word(TICKS), 0);
    next.go();
    until("the timer", || next.word(TICKS) > 0);
    await_loops(&next);
    // And once more: what has fired does not fire again.
    let state = next.save();
    let mut last = next.another(&state);
    last.go();
    await_loops(&last);
    last.vm.pause().unwrap();
    assert_eq!((last.word(TICKS), last.word(NMIS)), (1, 0));
}

#[test]
fn a_deadline_that_was_armed_is_kept() {
    fires_once_in_the_other(DEADLINE, 0);
}

#[test]
fn a_deadline_that_passes_while_it_stands_still_is_kept() {
    fires_once_in_the_other(DEADLINE, 50);
}

/// Of one that has fired KVM cannot tell whether it has been delivered; so a second save may bring it once more.
fn fires_in_the_other(stand_still: i64) {
    if !is_there_kvm() {
        return;
    }
    let mut bed = booted(ONCE);
    bed.vm.pause().unwrap();
    assert_eq!(bed.word(TICKS), 0, "the host took seconds for a pause");
    for _ in 0..stand_still {
        moment(100_000_000);
    }
    let mut next = bed.another(&bed.saved());
    drop(bed);
    next.go();
    until("the timer", || next.word(TICKS) > 0);
    await_loops(&next);
    next.vm.pause().unwrap();
    assert_eq!(next.word(TICKS), 1);
}

#[test]
fn a_count_that_was_running_goes_on() {
    fires_in_the_other(0);
}

#[test]
fn a_count_that_ends_while_it_stands_still_has_ended() {
    fires_in_the_other(45);
}

#[test]
fn the_interval_timer_ticks_through_the_io_apic() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = booted(PIT);
    for generation in 0..4 {
        let then = bed.word(PIT_TICKS);
        let what = format!("two ticks in VM {generation}");
        until(&what, || bed.word(PIT_TICKS) >= then + 2);
        let state = bed.save();
        let mut next = bed.another(&state);
        assert!(next.word(PIT_TICKS) >= then + 2);
        next.go();
        bed = next;
    }
    let then = bed.word(PIT_TICKS);
    until("a tick", || bed.word(PIT_TICKS) > then);
}

#[test]
fn an_nmi_that_nobody_has_taken_comes_once() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = booted(&[]);
    bed.vm.pause().unwrap();
    bed.vm.nmi();
    let mut next = bed.another(&bed.saved());
    next.go();
    until("the NMI", || next.word(NMIS) > 0);
    await_loops(&next);
    let state = next.save();
    let mut last = next.another(&state);
    last.go();
    await_loops(&last);
    assert_eq!(last.word(NMIS), 1);
    // The one that was saved first has it still.
    bed.go();
    until("the NMI", || bed.word(NMIS) > 0);
    await_loops(&bed);
    assert_eq!(bed.word(NMIS), 1);
}

#[test]
fn a_vcpu_that_asked_for_a_reset_waits_for_it_in_the_other() {
    if !is_there_kvm() {
        return;
    }
    let [low, high] = ACPI_PORT.to_le_bytes();
    let reset = [0x66, 0xBA, low, high, 0xB0, ACPI_RESET, 0xEE]; // mov dx, port; mov al, 1; out dx, al
    let directory = tempfile::tempdir().unwrap();
    let mut bed = Bed::boot(tiny(directory.path(), &kernel(&reset)));
    until("the request", || bed.vm.machine().power.asked().is_some());
    let state = bed.save();
    let mut next = bed.another(&state);
    assert_eq!(next.vm.machine().power.asked(), bed.vm.machine().power.asked());
    next.go();
    until("the vCPU's wait", || next.vm.group().word(0).unwrap().any(Word::ACTIVATION_PENDING));
    assert_eq!((next.word(READY), next.word(LOOPS)), (0, 0));
}
