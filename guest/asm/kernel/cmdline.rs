//! The command line: `vcpus=N mode=NAME tick=HZ quiet`, in any order; other words are not the
//! guest's and are passed over.

use super::{Emit, Labels, control32, place, print::Part, print::say};
use crate::layout::{
    APIC_TIMER_HZ, CONTROL_EXPECTED, CONTROL_INITIAL_MODE, CONTROL_QUIET, CONTROL_TICK_COUNT,
    CONTROL_TICK_HZ, MAX_TICK_HZ, MAX_VCPUS,
};
use crate::mode::Mode;
use iced_x86::code_asm::*;

/// `cmd_line_ptr` in the zero page (Linux Documentation/arch/x86/boot.rst).
const CMD_LINE_PTR: u64 = 0x228;

/// Parses the command line of the zero page at rbp into the control block. rsi walks along it.
pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let [mut done, mut next, mut skip, mut number] = std::array::from_fn(|_| a.create_label());
    a.mov(esi, dword_ptr(rbp + CMD_LINE_PTR))?;
    a.test(esi, esi)?;
    a.je(done)?;

    place(a, &mut next)?; // rsi: a separator, or the start of a word
    a.mov(al, byte_ptr(rsi))?;
    a.test(al, al)?;
    a.je(done)?;
    let mut word = a.create_label();
    a.cmp(al, i32::from(b' '))?;
    a.ja(word)?;
    a.inc(rsi)?;
    a.jmp(next)?;
    place(a, &mut word)?;
    emit_vcpus(a, skip, number)?;
    emit_tick(a, skip, number)?;
    emit_quiet(a, skip)?;
    emit_mode(a, l, skip)?;

    place(a, &mut skip)?; // rsi: anywhere in a word
    a.cmp(byte_ptr(rsi), i32::from(b' '))?;
    a.jbe(next)?;
    a.inc(rsi)?;
    a.jmp(skip)?;
    emit_number(a, &mut number)?;
    place(a, &mut done)
}

fn emit_vcpus(a: &mut CodeAssembler, skip: CodeLabel, number: CodeLabel) -> Emit {
    let [mut other, mut not_zero, mut not_more] = std::array::from_fn(|_| a.create_label());
    emit_prefix(a, "vcpus=", other)?;
    a.call(number)?;
    a.test(eax, eax)?;
    a.jne(not_zero)?;
    a.inc(eax)?;
    a.set_label(&mut not_zero)?;
    a.cmp(eax, MAX_VCPUS)?;
    a.jbe(not_more)?;
    a.mov(eax, MAX_VCPUS)?;
    a.set_label(&mut not_more)?;
    a.mov(control32(CONTROL_EXPECTED), eax)?;
    a.jmp(skip)?;
    place(a, &mut other)
}

fn emit_tick(a: &mut CodeAssembler, skip: CodeLabel, number: CodeLabel) -> Emit {
    let [mut other, mut not_more] = std::array::from_fn(|_| a.create_label());
    emit_prefix(a, "tick=", other)?;
    a.call(number)?;
    a.cmp(eax, MAX_TICK_HZ)?;
    a.jbe(not_more)?;
    a.mov(eax, MAX_TICK_HZ)?;
    a.set_label(&mut not_more)?;
    a.mov(control32(CONTROL_TICK_HZ), eax)?;
    a.test(eax, eax)?;
    a.je(skip)?;
    a.mov(ecx, eax)?;
    a.mov(eax, APIC_TIMER_HZ)?;
    a.xor(edx, edx)?;
    a.div(ecx)?;
    a.mov(control32(CONTROL_TICK_COUNT), eax)?;
    a.jmp(skip)?;
    place(a, &mut other)
}

fn emit_quiet(a: &mut CodeAssembler, skip: CodeLabel) -> Emit {
    let mut other = a.create_label();
    emit_prefix(a, "quiet", other)?;
    a.cmp(byte_ptr(rsi), i32::from(b' '))?;
    a.ja(skip)?; // a longer word
    a.mov(control32(CONTROL_QUIET), 1)?;
    a.jmp(skip)?;
    place(a, &mut other)
}

fn emit_mode(a: &mut CodeAssembler, l: &mut Labels, skip: CodeLabel) -> Emit {
    let mut other = a.create_label();
    emit_prefix(a, "mode=", other)?;
    a.mov(rbx, rsi)?;
    for mode in Mode::ALL {
        let mut not_this = a.create_label();
        emit_prefix(a, mode.name(), not_this)?;
        a.cmp(byte_ptr(rsi), i32::from(b' '))?;
        a.ja(not_this)?;
        a.mov(control32(CONTROL_INITIAL_MODE), u32::from(mode.number()))?;
        a.jmp(skip)?;
        a.set_label(&mut not_this)?;
        a.mov(rsi, rbx)?;
    }
    let names = Mode::ALL.map(Mode::name).join(", ");
    say(a, l, &[Part::Text(&format!("unknown mode on the command line; known are {names}\r\n"))])?;
    a.mov(rsi, rbx)?;
    a.jmp(skip)?;
    place(a, &mut other)
}

/// Moves rsi past `text` if it stands there; else jumps to `other` with rsi unchanged.
fn emit_prefix(a: &mut CodeAssembler, text: &str, other: CodeLabel) -> Emit {
    for (offset, byte) in (0u64..).zip(text.bytes()) {
        a.cmp(byte_ptr(rsi + offset), i32::from(byte))?;
        a.jne(other)?;
    }
    a.lea(rsi, ptr(rsi + text.len()))
}

/// Reads the decimal number at rsi into eax, at most `u32::MAX`, and moves rsi past its digits.
fn emit_number(a: &mut CodeAssembler, number: &mut CodeLabel) -> Emit {
    let [mut digit, mut end, mut fits] = std::array::from_fn(|_| a.create_label());
    a.set_label(number)?;
    a.xor(eax, eax)?;
    a.set_label(&mut digit)?;
    a.movzx(ecx, byte_ptr(rsi))?;
    a.sub(ecx, i32::from(b'0'))?;
    a.cmp(ecx, 9)?;
    a.ja(end)?;
    a.imul_3(rax, rax, 10)?;
    a.add(rax, rcx)?;
    a.mov(edx, u32::MAX)?;
    a.cmp(rax, rdx)?;
    a.jbe(fits)?;
    a.mov(eax, edx)?;
    a.set_label(&mut fits)?;
    a.inc(rsi)?;
    a.jmp(digit)?;
    a.set_label(&mut end)?;
    a.ret()
}
