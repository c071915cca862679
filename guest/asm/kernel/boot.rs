//! The BSP from the ELF entry point to the running guest.

use super::{
    Emit, Labels, apic, bring_up, cmdline, control32, control64, print::Part, print::say,
    write_msr, write_port,
};
use crate::asm::trampoline::{CR0, CR4, GDT_LIMIT};
use crate::layout::{
    AREA_SIZE, AREAS, CONTROL, CONTROL_BSP, CONTROL_EXPECTED, CONTROL_INITIAL_MODE, CONTROL_MAGIC,
    CONTROL_MODE, CONTROL_NEXT, CONTROL_PHASE, CONTROL_QUIET, CONTROL_SIZE, CONTROL_TICK_HZ,
    CONTROL_UP, GDT, IDT, IDT_VECTORS, IO_APIC, KERNEL_CS, KERNEL_DS, LINE_APIC_ID, LINES, MAGIC,
    PML4, SCRATCH_VALUE, SIPI_VECTOR, TRAMPOLINE, TRAMPOLINE_IMAGE, UART, UART_IRQ, UART_SCRATCH,
    VECTOR_UART,
};
use crate::mode::Mode;
use crate::phase::Phase;
use iced_x86::code_asm::*;

/// The fixed descriptors: null, kernel code and data, user code and data, null.
const DESCRIPTORS: [u64; 6] = [
    0,
    0x00AF_9B00_0000_FFFF,
    0x00CF_9300_0000_FFFF,
    0x00AF_FB00_0000_FFFF,
    0x00CF_F300_0000_FFFF,
    0,
];

/// Bytes of the trampoline that are copied, at least all of it.
const TRAMPOLINE_COPY: u64 = 0x100;

pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    a.cli()?;
    a.cld()?;
    a.mov(rbp, rsi)?; // the zero page
    a.mov(rsp, AREAS + AREA_SIZE)?;
    a.mov(r14, AREAS + AREA_SIZE)?;
    a.mov(r15, LINES)?;
    emit_control_block(a)?;
    emit_segments(a, l)?;
    cmdline::emit(a, l)?; // while the VMM's page tables, which cover the command line, are in force
    a.mov(rax, PML4)?;
    a.mov(cr3, rax)?;
    a.mov(eax, CR4)?;
    a.mov(cr4, rax)?;
    a.mov(eax, CR0)?;
    a.mov(cr0, rax)?;
    a.mov(rsi, TRAMPOLINE_IMAGE)?;
    a.mov(rdi, TRAMPOLINE)?;
    a.mov(rcx, TRAMPOLINE_COPY / 8)?;
    a.rep().movsq()?;
    a.xor(ebx, ebx)?;
    bring_up::emit_vcpu_init(a)?;
    emit_greeting(a, l)?;
    emit_start_aps(a)?;
    emit_devices(a)?;
    emit_running(a, l)?;
    a.jmp(l.keys) // what was typed meanwhile, then the mode
}

/// Everything zero but the generation, which starts at 1 so that no line's 0 is an acknowledgement.
fn emit_control_block(a: &mut CodeAssembler) -> Emit {
    a.mov(rdi, CONTROL)?;
    a.mov(rcx, CONTROL_SIZE / 8)?;
    a.xor(eax, eax)?;
    a.rep().stosq()?;
    a.mov(control32(CONTROL_PHASE), Phase::Booting.number())?;
    a.mov(control32(CONTROL_EXPECTED), 1)?;
    a.mov(control32(CONTROL_NEXT), 1)?;
    a.mov(rax, 1u64 << 32 | u64::from(Mode::Halt.number()) << 16)?;
    a.mov(control64(CONTROL_MODE), rax)?;
    a.mov(rax, MAGIC)?;
    a.mov(control64(CONTROL_MAGIC), rax)
}

fn emit_segments(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    for (slot, descriptor) in (0u64..).zip(DESCRIPTORS) {
        a.mov(rax, descriptor)?;
        a.mov(qword_ptr(GDT + slot * 8), rax)?;
    }
    let gdt = table_pointer(a, l, GDT_LIMIT, GDT);
    let idt = table_pointer(a, l, u16::from(IDT_VECTORS) * 16 - 1, IDT);
    let mut reloaded = a.create_label();
    a.lgdt(ptr(gdt))?;
    a.lidt(ptr(idt))?;
    a.mov(rax, rsp)?;
    a.push(i32::from(KERNEL_DS))?;
    a.push(rax)?;
    a.push(2)?; // RFLAGS: all clear, bit 1 always reads as set
    a.push(i32::from(KERNEL_CS))?;
    a.lea(rax, ptr(reloaded))?;
    a.push(rax)?;
    a.iretq()?;
    a.set_label(&mut reloaded)?;
    bring_up::emit_data_segments(a)
}

fn table_pointer(a: &mut CodeAssembler, l: &mut Labels, limit: u16, base: u64) -> CodeLabel {
    let bytes = [limit.to_le_bytes().as_slice(), base.to_le_bytes().as_slice()].concat();
    l.data(a, bytes)
}

/// INIT and SIPI to all others at once, then sleep until the last one sends the wake IPI.
fn emit_start_aps(a: &mut CodeAssembler) -> Emit {
    let (mut wait, mut up) = (a.create_label(), a.create_label());
    a.mov(eax, dword_ptr(r15 + LINE_APIC_ID))?;
    a.mov(control32(CONTROL_BSP), eax)?;
    a.lock().inc(control32(CONTROL_UP))?;
    write_msr(a, apic::ICR, apic::ICR_INIT)?;
    write_msr(a, apic::ICR, apic::ICR_SIPI | u32::from(SIPI_VECTOR))?;
    a.set_label(&mut wait)?;
    a.mov(eax, control32(CONTROL_UP))?;
    a.cmp(eax, control32(CONTROL_EXPECTED))?;
    a.jae(up)?;
    a.sti()?; // takes effect after the next instruction: no wake-up fits in between
    a.hlt()?;
    a.cli()?;
    a.jmp(wait)?;
    a.set_label(&mut up)?;
    a.nop()
}

/// PIC masked, UART interrupt through the I/O APIC to the BSP.
fn emit_devices(a: &mut CodeAssembler) -> Emit {
    write_port(a, 0x21, 0xFF)?;
    write_port(a, 0xA1, 0xFF)?;
    // Redirection entry of the UART's line: destination first, the low half unmasks it.
    // Edge-triggered, active high, fixed, physical: all zero.
    let entry = 0x10 + 2 * u32::from(UART_IRQ);
    a.mov(rbx, IO_APIC)?;
    a.mov(eax, control32(CONTROL_BSP))?;
    a.shl(eax, 24)?;
    a.mov(dword_ptr(rbx), entry + 1)?;
    a.mov(dword_ptr(rbx + 0x10), eax)?;
    a.mov(dword_ptr(rbx), entry)?;
    a.mov(dword_ptr(rbx + 0x10), u32::from(VECTOR_UART))?;
    write_port(a, UART + 3, 0x03)?; // LCR: 8N1
    write_port(a, UART + 2, 0x01)?; // FCR: FIFOs on, keeping what was received
    write_port(a, UART + 4, 0x0B)?; // MCR: DTR, RTS, OUT2 (the interrupt's gate on a PC)
    write_port(a, UART_SCRATCH, SCRATCH_VALUE)?;
    write_port(a, UART + 1, 0x01) // IER: received data
}

/// Said before the wait for the APs, so that a guest that waits for a vCPU in vain has said for how many.
fn emit_greeting(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let mut quiet = a.create_label();
    a.cmp(control32(CONTROL_QUIET), 0)?;
    a.jne(quiet)?;
    let greeting = [
        Part::Text("Stillpoint embedded guest: starting "),
        Part::Control32(CONTROL_EXPECTED),
        Part::Text(" vCPUs\r\n"),
    ];
    say(a, l, &greeting)?;
    a.set_label(&mut quiet)?;
    a.nop()
}

fn emit_running(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let (mut announced, mut quiet) = (a.create_label(), a.create_label());
    a.mov(eax, control32(CONTROL_INITIAL_MODE))?;
    a.cmp(eax, u32::from(Mode::Halt.number()))?;
    a.je(announced)?; // the mode they came up in
    a.call(l.set_mode)?;
    a.set_label(&mut announced)?;
    a.mov(control32(CONTROL_PHASE), Phase::Running.number())?;
    a.cmp(control32(CONTROL_QUIET), 0)?;
    a.jne(quiet)?;
    let banner = [
        Part::Control32(CONTROL_UP),
        Part::Text(" vCPUs up, LAPIC timer "),
        Part::Control32(CONTROL_TICK_HZ),
        Part::Text(" Hz, "),
    ];
    say(a, l, &banner)?;
    a.mov(eax, control32(CONTROL_INITIAL_MODE))?;
    a.call(l.print_mode)?;
    a.call(l.help)?;
    a.set_label(&mut quiet)?;
    a.nop()
}
