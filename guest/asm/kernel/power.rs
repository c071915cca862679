//! Keys `r` and `q`: the ends of the guest.

use super::{Emit, Labels, control32, place, print::Part, print::say, write_port};
use crate::layout::{
    ACPI_PORT, ACPI_POWER_OFF, ACPI_RESET, CONTROL_PHASE, I8042_COMMAND, I8042_RESET, UNMAPPED,
};
use crate::phase::Phase;
use iced_x86::code_asm::*;

/// Reads of the i8042 port that the guest allows the reset to take, before it tries another way.
const RESET_PATIENCE: u32 = 64;

pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    emit_reboot(a, l)?;
    emit_power_off(a, l)
}

/// The i8042's reset pulse; if the vCPU still runs, the ACPI reset; last a triple fault.
fn emit_reboot(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    place(a, &mut l.reboot)?;
    a.mov(control32(CONTROL_PHASE), Phase::Rebooting.number())?;
    say(a, l, &[Part::Text("reboot\r\n")])?;
    write_port(a, I8042_COMMAND, I8042_RESET)?;
    emit_wait(a)?;
    write_port(a, ACPI_PORT, ACPI_RESET)?;
    emit_wait(a)?;
    let no_idt = l.data(a, vec![0; 10]);
    a.lidt(ptr(no_idt))?;
    a.mov(rcx, UNMAPPED)?;
    a.mov(rax, qword_ptr(rcx))
}

fn emit_wait(a: &mut CodeAssembler) -> Emit {
    let mut again = a.create_label();
    a.mov(ecx, RESET_PATIENCE)?;
    a.mov(edx, u32::from(I8042_COMMAND))?;
    a.set_label(&mut again)?;
    a.in_(al, dx)?;
    a.dec(ecx)?;
    a.jne(again)
}

fn emit_power_off(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let mut again = a.create_label();
    place(a, &mut l.power_off)?;
    a.mov(control32(CONTROL_PHASE), Phase::PoweringOff.number())?;
    say(a, l, &[Part::Text("power off\r\n")])?;
    write_port(a, ACPI_PORT, ACPI_POWER_OFF)?;
    a.set_label(&mut again)?;
    a.cli()?;
    a.hlt()?;
    a.jmp(again)
}
