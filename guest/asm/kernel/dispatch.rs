//! The dispatcher: acknowledges the current mode generation and enters its loop.

use super::{Emit, Labels, control64, place};
use crate::asm::user::User;
use crate::layout::{CONTROL_MODE, LINE_ACK, LINE_HEARTBEAT, USER_CS, USER_DS};
use crate::mode::Mode;
use iced_x86::code_asm::*;

/// RFLAGS at CPL 3: IF. The ports of the storm are open by the TSS, not by IOPL.
const USER_RFLAGS: i32 = 1 << 9 | 1 << 1;

/// Emits the dispatcher. It is jumped to with interrupts off and never returns.
///
/// The acknowledgement is a compare-and-swap on the whole mode word: it counts only in the
/// generation it was read from. If the BSP has published a newer one meanwhile, the vCPU starts
/// over with that.
pub fn emit(a: &mut CodeAssembler, l: &mut Labels, user: &User) -> Emit {
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
