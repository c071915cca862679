//! What every vCPU does once to be a vCPU of the guest, and how an AP arrives.

use super::{Emit, Labels, apic, control32, write_msr};
use crate::layout::{
    AREA_SIZE, AREAS, CONTROL_BSP, CONTROL_EXPECTED, CONTROL_NEXT, CONTROL_TICK_COUNT, CONTROL_UP,
    FIRST_TSS, GDT, IDT, IDT_VECTORS, KERNEL_DS, LINE_APIC_ID, LINE_SIZE, LINES, MAX_VCPUS,
    POST_PORT, UART_SCRATCH, VECTOR_SPURIOUS, VECTOR_TICK,
};
use iced_x86::code_asm::*;

/// Offsets in a 64-bit TSS (Intel SDM vol. 3, figure 8-11).
const TSS_RSP0: u64 = 4;
const TSS_IST1: u64 = 36;
const TSS_IO_MAP_BASE: u64 = 102;
/// The I/O permission bitmap follows the TSS proper and reaches up to the last port of the storm, plus
/// the byte of ones that must end it. The storm runs at CPL 3 by this bitmap and not by IOPL 3
/// because not every KVM keeps the IOPL over `iretq`.
const TSS_IO_MAP: u64 = 104;
const _: () = assert!(LINE_SIZE.is_power_of_two() && AREA_SIZE.is_power_of_two());
const TSS_SIZE: u64 = TSS_IO_MAP + UART_SCRATCH as u64 / 8 + 2;
/// Top of the NMI stack in the vCPU's area; the main stack has the rest.
const NMI_STACK_TOP: u64 = 0x300;

/// Upper part of an available 64-bit TSS descriptor's first half, and its limit.
const TSS_DESCRIPTOR: u64 = 0x89 << 40 | (TSS_SIZE - 1);
const _: () = assert!(AREAS + AREA_SIZE * MAX_VCPUS as u64 <= 1 << 24, "bases of 24 bits");

/// An AP's way from the trampoline into the current mode.
pub fn emit_ap_entry(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let (mut surplus, mut not_last) = (a.create_label(), a.create_label());
    let mut sleep = a.create_label();
    let idt = l.data(a, idt_pointer());
    a.set_label(&mut l.ap_entry)?;
    emit_data_segments(a)?;
    a.mov(ebx, 1)?;
    a.lock().xadd(control32(CONTROL_NEXT), ebx)?;
    a.cmp(ebx, MAX_VCPUS)?;
    a.jae(surplus)?;
    a.lidt(ptr(idt))?;
    emit_vcpu_init(a)?;
    a.mov(eax, 1)?;
    a.lock().xadd(control32(CONTROL_UP), eax)?;
    a.inc(eax)?;
    a.cmp(eax, control32(CONTROL_EXPECTED))?;
    a.jne(not_last)?;
    a.mov(ecx, apic::ICR)?;
    a.mov(eax, apic::ICR_WAKE)?;
    a.mov(edx, control32(CONTROL_BSP))?;
    a.wrmsr()?;
    a.set_label(&mut not_last)?;
    a.jmp(l.dispatch)?;
    a.set_label(&mut surplus)?;
    a.cli()?;
    a.set_label(&mut sleep)?;
    a.hlt()?;
    a.jmp(sleep)
}

/// The vCPU with index ebx gets its stack, line, TSS and local APIC. Emitted for the BSP and for the
/// APs, since it changes stacks and so can't be called.
pub fn emit_vcpu_init(a: &mut CodeAssembler) -> Emit {
    a.mov(r15, rbx)?;
    a.shl(r15, LINE_SIZE.ilog2())?;
    a.lea(r15, ptr(r15 + LINES))?;
    a.mov(rsi, rbx)?;
    a.shl(rsi, AREA_SIZE.ilog2())?;
    a.lea(rsi, ptr(rsi + AREAS))?;
    a.lea(r14, ptr(rsi + AREA_SIZE))?;
    a.mov(rsp, r14)?;
    emit_tss(a)?;
    a.mov(rdi, r15)?;
    a.mov(rcx, LINE_SIZE / 8)?;
    a.xor(eax, eax)?;
    a.rep().stosq()?;
    emit_apic(a)
}

/// Segment registers for CPL 0. In 64-bit mode only SS's privilege matters.
pub fn emit_data_segments(a: &mut CodeAssembler) -> Emit {
    a.mov(eax, u32::from(KERNEL_DS))?;
    for segment in [ds, es, fs, gs, ss] {
        a.mov(segment, ax)?;
    }
    Ok(())
}

/// The TSS at rsi for vCPU ebx. Each vCPU writes only its own descriptor.
fn emit_tss(a: &mut CodeAssembler) -> Emit {
    a.mov(qword_ptr(rsi + TSS_RSP0), r14)?;
    a.lea(rax, ptr(rsi + NMI_STACK_TOP))?;
    a.mov(qword_ptr(rsi + TSS_IST1), rax)?;
    a.mov(rax, TSS_IO_MAP)?;
    a.mov(word_ptr(rsi + TSS_IO_MAP_BASE), ax)?;
    a.lea(rdi, ptr(rsi + TSS_IO_MAP))?;
    a.mov(rcx, (TSS_SIZE - TSS_IO_MAP).div_ceil(8))?;
    a.mov(rax, -1i64)?;
    a.rep().stosq()?;
    for port in [POST_PORT, UART_SCRATCH].map(u64::from) {
        let allow = u32::from(!(1u8 << (port % 8)));
        a.and(byte_ptr(rsi + (TSS_IO_MAP + port / 8)), allow)?;
    }
    a.shl(rsi, 16)?;
    a.mov(rax, TSS_DESCRIPTOR)?;
    a.or(rax, rsi)?;
    a.mov(rcx, rbx)?;
    a.shl(ecx, 4)?;
    a.add(ecx, u32::from(FIRST_TSS))?;
    a.mov(qword_ptr(rcx + GDT), rax)?;
    a.mov(qword_ptr(rcx + (GDT + 8)), 0)?;
    a.ltr(cx)
}

/// x2APIC mode, own id, timer. The id comes from the APIC itself: CPUID may not be trusted to differ
/// between vCPUs on a KVM that can't intercept it.
fn emit_apic(a: &mut CodeAssembler) -> Emit {
    let mut no_tick = a.create_label();
    a.mov(ecx, apic::BASE)?;
    a.rdmsr()?;
    a.or(eax, apic::BASE_X2APIC)?;
    a.wrmsr()?;
    a.mov(ecx, apic::ID)?;
    a.rdmsr()?;
    a.mov(dword_ptr(r15 + LINE_APIC_ID), eax)?;
    write_msr(a, apic::SPURIOUS, 0x100 | u32::from(VECTOR_SPURIOUS))?;
    write_msr(a, apic::TPR, 0)?;
    write_msr(a, apic::LVT_LINT0, apic::LVT_MASKED)?; // no PIC
    a.cmp(control32(CONTROL_TICK_COUNT), 0)?;
    a.je(no_tick)?;
    write_msr(a, apic::TIMER_DIVIDE, apic::DIVIDE_BY_1)?;
    write_msr(a, apic::LVT_TIMER, apic::TIMER_PERIODIC | u32::from(VECTOR_TICK))?;
    a.mov(ecx, apic::TIMER_INITIAL)?;
    a.mov(eax, control32(CONTROL_TICK_COUNT))?;
    a.wrmsr()?;
    a.set_label(&mut no_tick)?;
    a.nop()
}

fn idt_pointer() -> Vec<u8> {
    let limit = u16::from(IDT_VECTORS) * 16 - 1;
    [limit.to_le_bytes().as_slice(), IDT.to_le_bytes().as_slice()].concat()
}
