//! The CPL 0 part of the guest.
//!
//! Register conventions, kept from the moment a vCPU has its index until it is reset:
//! - r15: the vCPU's line in the heartbeat array, r14: the top of its main stack. Nothing else writes
//!   them, at either CPL, so a handler knows by them on which vCPU it runs.
//! - A handler that resumes the interrupted code by `iretq` preserves every register. One that
//!   goes to the dispatcher preserves none, because the dispatcher starts the mode's loop afresh.
//! - Printing clobbers rax, rcx, rdx, rsi, rdi and keeps the others.
//!
//! Interrupts are off in all CPL 0 code except the halt and busy loops and the BSP's wait for the APs.

mod boot;
mod bring_up;
mod cmdline;
mod crash;
mod dispatch;
mod interrupts;
mod keys;
mod power;
mod print;
mod status;

use super::Idle;
use super::idt::{Gate, Stack};
use super::user::User;
use crate::layout::{CONTROL, ENTRY, IDT_VECTORS};
use iced_x86::{BlockEncoderOptions, IcedError, code_asm::*};

/// Result of emitting code.
type Emit = Result<(), IcedError>;

/// The assembled CPL 0 part and what others must know of it.
pub struct Kernel {
    /// Bytes at `ENTRY`.
    pub code: Vec<u8>,
    /// Where the trampoline enters 64-bit code.
    pub ap_entry: u64,
    /// The gates of the IDT, by vector.
    pub gates: Vec<Gate>,
}

/// The code's entry points that one part emits and others refer to.
struct Labels {
    /// Gives up the stack and enters the current mode.
    dispatch: CodeLabel,
    /// Where an AP arrives in 64-bit code.
    ap_entry: CodeLabel,
    /// Drains the UART's receive buffer, then dispatches. BSP only.
    keys: CodeLabel,
    /// Prints ecx bytes at rsi.
    print: CodeLabel,
    /// Prints rax in decimal.
    print_dec: CodeLabel,
    /// Prints rax in hexadecimal.
    print_hex: CodeLabel,
    /// Prints the title of the mode whose number is eax.
    print_mode: CodeLabel,
    /// Prints the help lines.
    help: CodeLabel,
    /// Prints the status lines.
    status: CodeLabel,
    /// Makes eax the mode of all vCPUs and tells the others by IPI.
    set_mode: CodeLabel,
    /// Reports the exception whose vector, error code and frame are on the stack.
    crash: CodeLabel,
    /// Resets the machine.
    reboot: CodeLabel,
    /// Powers the machine off.
    power_off: CodeLabel,
    /// Handler by vector, and its stack.
    gates: Vec<(CodeLabel, Stack)>,
    /// Constant data, emitted behind the code.
    data: Vec<(CodeLabel, Vec<u8>)>,
}

impl Labels {
    fn new(a: &mut CodeAssembler) -> Self {
        let mut label = || a.create_label();
        Self {
            dispatch: label(),
            ap_entry: label(),
            keys: label(),
            print: label(),
            print_dec: label(),
            print_hex: label(),
            print_mode: label(),
            help: label(),
            status: label(),
            set_mode: label(),
            crash: label(),
            reboot: label(),
            power_off: label(),
            gates: (0..IDT_VECTORS).map(|_| (label(), Stack::Main)).collect(),
            data: Vec::new(),
        }
    }

    /// Constant data to be placed behind the code; the label is its address.
    fn data(&mut self, a: &mut CodeAssembler, bytes: Vec<u8>) -> CodeLabel {
        let label = a.create_label();
        self.data.push((label, bytes));
        label
    }
}

/// Assembles the CPL 0 part. The entry point comes first.
pub fn assemble(user: &User, idle: Idle) -> Result<Kernel, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let mut l = Labels::new(&mut a);
    boot::emit(&mut a, &mut l)?;
    bring_up::emit_ap_entry(&mut a, &mut l)?;
    dispatch::emit(&mut a, &mut l, user, idle)?;
    interrupts::emit(&mut a, &mut l, user, idle)?;
    keys::emit(&mut a, &mut l)?;
    status::emit(&mut a, &mut l)?;
    print::emit(&mut a, &mut l)?;
    power::emit(&mut a, &mut l)?;
    crash::emit(&mut a, &mut l)?;
    for (mut label, bytes) in std::mem::take(&mut l.data) {
        a.set_label(&mut label)?;
        a.db(&bytes)?;
    }
    let done = a.assemble_options(ENTRY, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
    let gate = |(label, stack): &(CodeLabel, Stack)| {
        Ok(Gate { handler: done.label_ip(label)?, stack: *stack })
    };
    Ok(Kernel {
        ap_entry: done.label_ip(&l.ap_entry)?,
        gates: l.gates.iter().map(gate).collect::<Result<_, IcedError>>()?,
        code: done.inner.code_buffer,
    })
}

/// The 32-bit field of the control block at this offset.
fn control32(offset: u64) -> AsmMemoryOperand {
    dword_ptr(CONTROL + offset)
}

/// The 64-bit field of the control block at this offset.
fn control64(offset: u64) -> AsmMemoryOperand {
    qword_ptr(CONTROL + offset)
}

/// Makes a label stand here even if another one does too.
fn place(a: &mut CodeAssembler, label: &mut CodeLabel) -> Emit {
    a.set_label(label)?;
    a.zero_bytes()
}

/// `wrmsr` of a value whose upper half is zero. Clobbers rax, rcx, rdx.
fn write_msr(a: &mut CodeAssembler, msr: u32, value: u32) -> Emit {
    a.mov(ecx, msr)?;
    a.mov(eax, value)?;
    a.xor(edx, edx)?;
    a.wrmsr()
}

/// Writes a byte to an I/O port. Clobbers rax, rdx.
fn write_port(a: &mut CodeAssembler, port: u16, value: u8) -> Emit {
    a.mov(edx, u32::from(port))?;
    a.mov(eax, u32::from(value))?;
    a.out(dx, al)
}

/// x2APIC registers (Intel SDM vol. 3, table 11-6) and their values.
mod apic {
    use crate::layout::{VECTOR_MODE, VECTOR_WAKE};

    pub const BASE: u32 = 0x1B;
    /// IA32_APIC_BASE: global enable and x2APIC mode.
    pub const BASE_X2APIC: u32 = 0xC00;
    pub const ID: u32 = 0x802;
    pub const TPR: u32 = 0x808;
    pub const EOI: u32 = 0x80B;
    pub const SPURIOUS: u32 = 0x80F;
    pub const ICR: u32 = 0x830;
    pub const LVT_TIMER: u32 = 0x832;
    pub const LVT_LINT0: u32 = 0x835;
    pub const TIMER_INITIAL: u32 = 0x838;
    pub const TIMER_DIVIDE: u32 = 0x83E;
    pub const LVT_MASKED: u32 = 1 << 16;
    pub const TIMER_PERIODIC: u32 = 1 << 17;
    pub const DIVIDE_BY_1: u32 = 0b1011;
    const ASSERT: u32 = 1 << 14;
    const ALL_BUT_SELF: u32 = 0b11 << 18;
    /// ICR: INIT to all others.
    pub const ICR_INIT: u32 = ALL_BUT_SELF | ASSERT | 0b101 << 8;
    /// ICR: SIPI to all others; the page number is to be added.
    pub const ICR_SIPI: u32 = ALL_BUT_SELF | ASSERT | 0b110 << 8;
    /// ICR: INIT to one; the destination goes into the upper half.
    pub const ICR_INIT_ONE: u32 = ASSERT | 0b101 << 8;
    /// ICR: SIPI to one; the page number is to be added, the destination goes into the upper half.
    pub const ICR_SIPI_ONE: u32 = ASSERT | 0b110 << 8;
    /// ICR: the mode-change IPI to all others.
    pub const ICR_MODE: u32 = ALL_BUT_SELF | ASSERT | VECTOR_MODE as u32;
    /// ICR: the wake IPI; the destination goes into the upper half.
    pub const ICR_WAKE: u32 = ASSERT | VECTOR_WAKE as u32;
}
