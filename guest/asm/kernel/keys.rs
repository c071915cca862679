//! Keys from the UART, and the change of mode. Runs on the BSP only.

use super::{Emit, Labels, apic, control32, control64, place, print::Part, print::say, write_msr};
use crate::layout::{CONTROL_KEYS, CONTROL_MODE, UART, UNMAPPED};
use crate::mode::Mode;
use iced_x86::code_asm::*;

const RECEIVE: u16 = UART;
const INTERRUPT_ID: u16 = UART + 2;
const LINE_STATUS: u16 = UART + 5;
/// How often in a row a UART may claim an interrupt and have no data before it is believed broken.
const PATIENCE: u32 = 16;

pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    emit_drain(a, l)?;
    emit_set_mode(a, l)
}

/// Takes keys until the UART has no data and claims no interrupt: its line is edge-triggered, so
/// there is a new edge only after both are gone.
fn emit_drain(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let [mut next, mut poll, mut empty] = std::array::from_fn(|_| a.create_label());
    place(a, &mut l.keys)?;
    a.set_label(&mut next)?;
    a.mov(r13d, PATIENCE)?;
    a.set_label(&mut poll)?;
    read_port(a, LINE_STATUS)?;
    a.cmp(al, -1)?;
    a.je(l.dispatch)?; // no UART there
    a.test(al, 1)?;
    a.je(empty)?;
    read_port(a, RECEIVE)?;
    a.inc(control32(CONTROL_KEYS))?;
    a.movzx(ebx, al)?;
    emit_commands(a, l, next)?;
    a.jmp(next)?;
    a.set_label(&mut empty)?;
    read_port(a, INTERRUPT_ID)?;
    a.test(al, 1)?; // bit 0 set: no interrupt pending
    a.jne(l.dispatch)?;
    a.dec(r13d)?;
    a.jne(poll)?;
    a.jmp(l.dispatch)
}

/// Obeys the key in ebx. Falls through or jumps to `next` when it is done.
fn emit_commands(a: &mut CodeAssembler, l: &mut Labels, next: CodeLabel) -> Emit {
    for mode in Mode::ALL {
        let mut other = a.create_label();
        a.cmp(ebx, u32::from(mode.key()))?;
        a.jne(other)?;
        a.mov(eax, u32::from(mode.number()))?;
        a.call(l.set_mode)?;
        say(a, l, &[Part::Text("mode: "), Part::Text(mode.title()), Part::Text("\r\n")])?;
        a.jmp(next)?;
        place(a, &mut other)?;
    }
    for (key, routine) in [(b's', l.status), (b'?', l.help)] {
        let mut other = a.create_label();
        a.cmp(ebx, u32::from(key))?;
        a.jne(other)?;
        a.call(routine)?;
        a.jmp(next)?;
        place(a, &mut other)?;
    }
    for (key, end) in [(b'r', l.reboot), (b'q', l.power_off)] {
        a.cmp(ebx, u32::from(key))?;
        a.je(end)?;
    }
    let mut other = a.create_label();
    a.cmp(ebx, u32::from(b'x'))?;
    a.jne(other)?;
    a.mov(rcx, UNMAPPED)?;
    a.mov(rax, qword_ptr(rcx))?;
    place(a, &mut other)?;
    a.cmp(ebx, u32::from(b' '))?;
    a.jbe(next)?; // line ends and spaces
    say(a, l, &[Part::Text("unknown key "), Part::Hex(rbx), Part::Text(", ? lists the keys\r\n")])
}

/// Subroutine: a new generation with mode eax and no acknowledgement, then the IPI.
/// The exchange is a full barrier: no vCPU sees the IPI before the word.
fn emit_set_mode(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    a.set_label(&mut l.set_mode)?;
    a.mov(rcx, control64(CONTROL_MODE))?;
    a.shr(rcx, 32)?;
    a.inc(ecx)?;
    a.shl(rcx, 32)?;
    a.shl(eax, 16)?;
    a.or(rcx, rax)?;
    a.xchg(control64(CONTROL_MODE), rcx)?;
    write_msr(a, apic::ICR, apic::ICR_MODE)?;
    a.ret()
}

/// Reads a byte from an I/O port into al. Clobbers rdx.
fn read_port(a: &mut CodeAssembler, port: u16) -> Emit {
    a.mov(edx, u32::from(port))?;
    a.in_(al, dx)
}
