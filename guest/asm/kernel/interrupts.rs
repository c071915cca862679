//! The interrupt handlers, one gate per vector.

use super::{Emit, Labels, apic, write_msr};
use crate::asm::Idle;
use crate::asm::idt::Stack;
use crate::asm::user::User;
use crate::driver;
use crate::layout::{
    IDT_VECTORS, LINE_INTERRUPTS, LINE_NMIS, LINE_TICKS, SIPI_VECTOR, VECTOR_MODE, VECTOR_SPURIOUS,
    VECTOR_TICK, VECTOR_UART, VECTOR_WAKE,
};
use iced_x86::code_asm::*;

const VECTOR_NMI: u8 = 2;
const VECTOR_DOUBLE_FAULT: u8 = 8;
/// Exceptions that push an error code (Intel SDM vol. 3, table 6-1; 29 and 30 are AMD's).
const WITH_ERROR_CODE: [u8; 10] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];

pub fn emit(a: &mut CodeAssembler, l: &mut Labels, user: &User, idle: Idle) -> Emit {
    for vector in 0..IDT_VECTORS {
        let index = usize::from(vector);
        let (mut gate, _) = l.gates[index];
        a.set_label(&mut gate)?;
        match vector {
            VECTOR_NMI => emit_nmi(a, idle)?,
            VECTOR_TICK => emit_resuming(a, Some(LINE_TICKS))?,
            VECTOR_WAKE => emit_resuming(a, None)?,
            VECTOR_MODE => emit_leaving(a, l.dispatch, user)?,
            VECTOR_UART => emit_leaving(a, l.keys, user)?,
            VECTOR_SPURIOUS => a.iretq()?, // takes no EOI
            _ => emit_unexpected(a, l, vector)?,
        }
        let stack = match vector {
            VECTOR_NMI | VECTOR_DOUBLE_FAULT => Stack::Ist1,
            _ => Stack::Main,
        };
        l.gates[index] = (gate, stack);
    }
    Ok(())
}

/// NMIs come at any time, also on the way into CPL 3 or out of it: count, touch nothing else. In the driver guest an NMI is
/// the host's way to have a vCPU started, as nothing else interrupts the program.
fn emit_nmi(a: &mut CodeAssembler, idle: Idle) -> Emit {
    if idle == Idle::Driver {
        // The program uses r15: there is no line to count on.
        emit_start_asked(a)?;
    } else {
        a.inc(qword_ptr(r15 + LINE_NMIS))?;
    }
    a.iretq()
}

/// INIT and SIPI to the vCPU that the host has named, by whoever takes the name first.
fn emit_start_asked(a: &mut CodeAssembler) -> Emit {
    let mut nobody = a.create_label();
    let saved = [rax, rcx, rdx];
    for register in saved {
        a.push(register)?;
    }
    a.xor(eax, eax)?;
    a.xchg(dword_ptr(driver::START), eax)?;
    a.test(eax, eax)?;
    a.je(nobody)?;
    a.mov(edx, eax)?;
    a.mov(ecx, apic::ICR)?;
    a.mov(eax, apic::ICR_INIT_ONE)?;
    a.wrmsr()?;
    a.mov(eax, apic::ICR_SIPI_ONE | u32::from(SIPI_VECTOR))?;
    a.wrmsr()?;
    a.set_label(&mut nobody)?;
    for register in saved.into_iter().rev() {
        a.pop(register)?;
    }
    Ok(())
}

/// A handler that counts and resumes what it interrupted.
fn emit_resuming(a: &mut CodeAssembler, counter: Option<u64>) -> Emit {
    let saved = [rax, rcx, rdx];
    for register in saved {
        a.push(register)?;
    }
    a.inc(qword_ptr(r15 + LINE_INTERRUPTS))?;
    if let Some(counter) = counter {
        a.inc(qword_ptr(r15 + counter))?;
    }
    write_msr(a, apic::EOI, 0)?;
    for register in saved.into_iter().rev() {
        a.pop(register)?;
    }
    a.iretq()
}

/// A handler that drops what it interrupted and goes on to `target`, which ends in the dispatcher.
/// An access of a storm that is done but not counted yet is counted here.
fn emit_leaving(a: &mut CodeAssembler, target: CodeLabel, user: &User) -> Emit {
    a.inc(qword_ptr(r15 + LINE_INTERRUPTS))?;
    a.mov(rax, qword_ptr(rsp))?;
    for count in &user.counts {
        let mut other = a.create_label();
        a.mov(rcx, count.rip)?;
        a.cmp(rax, rcx)?;
        a.jne(other)?;
        a.inc(qword_ptr(r15 + count.field))?;
        a.set_label(&mut other)?;
        a.nop()?;
    }
    write_msr(a, apic::EOI, 0)?;
    a.jmp(target)
}

fn emit_unexpected(a: &mut CodeAssembler, l: &Labels, vector: u8) -> Emit {
    if !WITH_ERROR_CODE.contains(&vector) {
        a.push(0)?;
    }
    a.push(i32::from(vector))?;
    a.jmp(l.crash)
}
