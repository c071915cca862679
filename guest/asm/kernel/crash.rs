//! Unexpected exceptions: a record in the control block, a line on the serial port, power off.

use super::{Emit, Labels, control32, control64, place, print::Part, print::say, write_port};
use crate::layout::{
    ACPI_PORT, ACPI_POWER_OFF, CONTROL_CRASH_CR2, CONTROL_CRASH_ERROR, CONTROL_CRASH_RIP,
    CONTROL_CRASH_VCPU, CONTROL_CRASH_VECTOR, CONTROL_CRASHED, CONTROL_PHASE, LINE_APIC_ID,
    LINE_SIZE, LINES,
};
use crate::phase::Phase;
use iced_x86::code_asm::*;

/// Stack at entry: vector, error code, then the frame with RIP first. Only the first vCPU to come
/// here reports; the others stop, so that its report stays whole.
pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let mut stop = a.create_label();
    place(a, &mut l.crash)?;
    a.mov(eax, 1)?;
    a.xchg(control32(CONTROL_CRASHED), eax)?;
    a.test(eax, eax)?;
    a.jne(stop)?;
    for (field, stack) in
        [(CONTROL_CRASH_VECTOR, 0), (CONTROL_CRASH_ERROR, 8), (CONTROL_CRASH_RIP, 16)]
    {
        a.mov(rax, qword_ptr(rsp + stack))?;
        a.mov(control64(field), rax)?;
    }
    a.mov(rax, cr2)?;
    a.mov(control64(CONTROL_CRASH_CR2), rax)?;
    a.lea(rax, ptr(r15 - LINES))?;
    a.shr(rax, LINE_SIZE.ilog2())?;
    a.mov(control32(CONTROL_CRASH_VCPU), eax)?;
    a.mov(control32(CONTROL_PHASE), Phase::Crashed.number())?; // last: the record is complete
    a.mov(ebx, dword_ptr(r15 + LINE_APIC_ID))?;
    let report = [
        Part::Text("\r\nguest crashed: vector "),
        Part::ControlHex(CONTROL_CRASH_VECTOR),
        Part::Text(", error code "),
        Part::ControlHex(CONTROL_CRASH_ERROR),
        Part::Text(", RIP "),
        Part::ControlHex(CONTROL_CRASH_RIP),
        Part::Text(", CR2 "),
        Part::ControlHex(CONTROL_CRASH_CR2),
        Part::Text(", vCPU "),
        Part::Control32(CONTROL_CRASH_VCPU),
        Part::Text(", APIC id "),
        Part::Dec(rbx),
        Part::Text("\r\n"),
    ];
    say(a, l, &report)?;
    write_port(a, ACPI_PORT, ACPI_POWER_OFF)?;
    a.set_label(&mut stop)?;
    a.cli()?;
    a.hlt()?;
    a.jmp(stop)
}
