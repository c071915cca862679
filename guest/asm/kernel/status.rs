//! Key `s`: the control block and the sums over all lines, as text.

use super::{Emit, Labels, control32, control64, place, print::Part, print::say};
use crate::layout::{
    CONTROL_EXPECTED, CONTROL_MODE, CONTROL_UP, LINE_BAD_READS, LINE_HEARTBEAT, LINE_INTERRUPTS,
    LINE_MMIO, LINE_NMIS, LINE_PIO, LINE_SIZE, LINE_TICKS, LINES,
};
use iced_x86::code_asm::*;

/// vCPUs whose NMI counts are listed one by one.
const LISTED: u32 = 64;

pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let mut column = a.create_label();
    place(a, &mut l.status)?;
    a.mov(rbx, control64(CONTROL_MODE))?;
    a.movzx(r8d, bx)?; // acknowledgements
    a.mov(r9, rbx)?;
    a.shr(r9, 32)?; // generation
    let up = [
        Part::Text("vCPUs: "),
        Part::Control32(CONTROL_UP),
        Part::Text(" of "),
        Part::Control32(CONTROL_EXPECTED),
        Part::Text(" up, "),
        Part::Dec(r8),
        Part::Text(" acknowledged generation "),
        Part::Dec(r9),
        Part::Text(": "),
    ];
    say(a, l, &up)?;
    a.mov(eax, ebx)?;
    a.shr(eax, 16)?;
    a.call(l.print_mode)?;
    for (title, field) in [
        ("\r\nheartbeats: ", LINE_HEARTBEAT),
        ("PIO accesses: ", LINE_PIO),
        ("MMIO accesses: ", LINE_MMIO),
        ("wrong reads: ", LINE_BAD_READS),
        ("interrupts: ", LINE_INTERRUPTS),
        ("ticks: ", LINE_TICKS),
        ("NMIs: ", LINE_NMIS),
    ] {
        a.mov(rdi, LINES + field)?;
        a.call(column)?;
        let line = [
            Part::Text(title),
            Part::Dec(r8),
            Part::Text(" (min "),
            Part::Dec(r9),
            Part::Text(", max "),
            Part::Dec(r10),
            Part::Text(")\r\n"),
        ];
        say(a, l, &line)?;
    }
    emit_nmi_list(a, l)?;
    emit_column(a, &mut column)
}

/// The NMI count of each of the first vCPUs, so that a lost or doubled one can be placed.
fn emit_nmi_list(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let [mut fewer, mut again] = std::array::from_fn(|_| a.create_label());
    say(a, l, &[Part::Text("NMIs by vCPU:")])?;
    a.mov(r8d, control32(CONTROL_UP))?;
    a.cmp(r8d, LISTED)?;
    a.jbe(fewer)?;
    a.mov(r8d, LISTED)?;
    a.set_label(&mut fewer)?;
    a.mov(r9, LINES + LINE_NMIS)?;
    place(a, &mut again)?;
    a.mov(r10, qword_ptr(r9))?;
    say(a, l, &[Part::Text(" "), Part::Dec(r10)])?;
    a.lea(r9, ptr(r9 + LINE_SIZE))?;
    a.dec(r8d)?;
    a.jne(again)?;
    say(a, l, &[Part::Text("\r\n")])?;
    a.ret()
}

/// Subroutine: r8, r9, r10 = sum, minimum, maximum of the field whose first instance is at rdi.
fn emit_column(a: &mut CodeAssembler, column: &mut CodeLabel) -> Emit {
    let [mut again, mut not_less, mut not_more] = std::array::from_fn(|_| a.create_label());
    a.set_label(column)?;
    a.mov(ecx, control32(CONTROL_UP))?;
    a.xor(r8d, r8d)?;
    a.mov(r9, -1i64)?;
    a.xor(r10d, r10d)?;
    a.set_label(&mut again)?;
    a.mov(rax, qword_ptr(rdi))?;
    a.add(r8, rax)?;
    a.cmp(rax, r9)?;
    a.jae(not_less)?;
    a.mov(r9, rax)?;
    a.set_label(&mut not_less)?;
    a.cmp(rax, r10)?;
    a.jbe(not_more)?;
    a.mov(r10, rax)?;
    a.set_label(&mut not_more)?;
    a.lea(rdi, ptr(rdi + LINE_SIZE))?;
    a.dec(ecx)?;
    a.jne(again)?;
    a.ret()
}
