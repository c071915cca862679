//! The dispatcher: acknowledges the current mode generation and enters its loop.

use super::{Emit, Labels, control64, place};
use crate::asm::Idle;
use crate::asm::trampoline::CR4;
use crate::asm::user::User;
use crate::driver;
use crate::layout::{CONTROL_MODE, LINE_ACK, LINE_HEARTBEAT, LINE_SIZE, LINES, USER_CS, USER_DS};
use crate::mode::Mode;
use iced_x86::code_asm::*;

/// RFLAGS of the driver program: IOPL 3, no interrupts.
const DRIVER_RFLAGS: i32 = 3 << 12 | 1 << 1;
/// CR4: FXSAVE and SSE, and their exceptions.
const OSFXSR: u32 = 1 << 9;
const OSXMMEXCPT: u32 = 1 << 10;

/// RFLAGS at CPL 3: IF. The ports of the storm are open by the TSS, not by IOPL.
const USER_RFLAGS: i32 = 1 << 9 | 1 << 1;

/// Emits the dispatcher. It is jumped to with interrupts off and never returns.
///
/// The acknowledgement is a compare-and-swap on the whole mode word: it counts only in the
/// generation it was read from. If the BSP has published a newer one meanwhile, the vCPU starts
/// over with that.
pub fn emit(a: &mut CodeAssembler, l: &mut Labels, user: &User, idle: Idle) -> Emit {
    let [mut enter, mut halt, mut busy0] = std::array::from_fn(|_| a.create_label());
    place(a, &mut l.dispatch)?;
    a.mov(rsp, r14)?;
    a.mov(rax, control64(CONTROL_MODE))?;
    a.mov(rcx, rax)?;
    a.shr(rcx, 32)?;
    a.cmp(dword_ptr(r15 + LINE_ACK), ecx)?;
    a.je(enter)?;
    a.lea(rdx, ptr(rax + 1))?;
    a.lock().cmpxchg(control64(CONTROL_MODE), rdx)?;
    a.jne(l.dispatch)?;
    a.mov(dword_ptr(r15 + LINE_ACK), ecx)?;

    a.set_label(&mut enter)?;
    a.shr(eax, 16)?;
    for (mode, entry) in [(Mode::Busy, user.busy), (Mode::Io, user.io), (Mode::Mmio, user.mmio)] {
        let mut other = a.create_label();
        a.cmp(eax, u32::from(mode.number()))?;
        a.jne(other)?;
        emit_enter_user(a, entry)?;
        a.set_label(&mut other)?;
        a.nop()?;
    }
    a.cmp(eax, u32::from(Mode::Busy0.number()))?;
    a.je(busy0)?;

    if idle == Idle::Driver {
        emit_enter_driver(a, halt)?;
    }

    // HLT directly after STI: an interrupt that is pending now still ends the HLT.
    a.set_label(&mut halt)?;
    a.inc(qword_ptr(r15 + LINE_HEARTBEAT))?;
    a.sti()?;
    a.hlt()?;
    a.cli()?;
    a.jmp(halt)?;

    a.set_label(&mut busy0)?;
    a.sti()?;
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.inc(qword_ptr(r15 + LINE_HEARTBEAT))?;
    a.jmp(again)
}

/// Leaves for the driver program, with a stack, SSE and every port, and without interrupts: the handlers rely on
/// registers that the program uses. vCPUs that there is no stack for halt.
fn emit_enter_driver(a: &mut CodeAssembler, halt: CodeLabel) -> Emit {
    a.mov(rdi, r15)?;
    a.sub(rdi, i32::try_from(LINES).unwrap_or(i32::MAX))?;
    a.shr(rdi, LINE_SIZE.trailing_zeros())?;
    a.cmp(rdi, i32::try_from(driver::MAX_VCPUS).unwrap_or(i32::MAX))?;
    a.jae(halt)?;
    a.mov(rax, u64::from(CR4 | OSFXSR | OSXMMEXCPT))?;
    a.mov(cr4, rax)?;
    // As if it had been called: 8 bytes below a multiple of 16.
    a.lea(rax, ptr(rdi + 1))?;
    a.shl(rax, driver::STACK_SIZE.trailing_zeros())?;
    a.add(rax, i32::try_from(driver::STACKS - 8).unwrap_or(i32::MAX))?;
    a.mov(rcx, driver::CODE)?;
    a.push(i32::from(USER_DS))?;
    a.push(rax)?;
    a.push(DRIVER_RFLAGS)?;
    a.push(i32::from(USER_CS))?;
    a.push(rcx)?;
    a.iretq()
}

/// Leaves for CPL 3. The loops use no stack, so they get none.
fn emit_enter_user(a: &mut CodeAssembler, entry: u64) -> Emit {
    a.mov(rcx, entry)?;
    a.push(i32::from(USER_DS))?;
    a.push(0)?;
    a.push(USER_RFLAGS)?;
    a.push(i32::from(USER_CS))?;
    a.push(rcx)?;
    a.iretq()
}
