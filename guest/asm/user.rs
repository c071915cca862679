//! The loops that run at CPL 3.
//!
//! Registers on entry: r15 = the vCPU's line. r14 and r15 are reserved throughout the guest.
//!
//! A mode change throws the interrupted loop away wherever it stands. So that each completed access
//! is nevertheless counted exactly once, the instruction after an access is always the one that counts
//! it; a handler that finds the interrupted RIP on such an instruction counts in its place
//! ([`Count`]).

use crate::layout::{
    LINE_BAD_READS, LINE_HEARTBEAT, LINE_MMIO, LINE_PIO, MMIO_HOLE, POST_PORT, SCRATCH_VALUE,
    UART_SCRATCH, USER_CODE,
};
use iced_x86::{BlockEncoderOptions, IcedError, code_asm::*};

/// A counting instruction: at `rip`, the access before it is done and not yet in `field`.
pub struct Count {
    /// Address of the instruction.
    pub rip: u64,
    /// Offset in the vCPU's line of the counter that it increments.
    pub field: u64,
}

/// The assembled loops and their addresses.
pub struct User {
    /// Bytes at `USER_CODE`.
    pub code: Vec<u8>,
    /// Entry of the busy loop.
    pub busy: u64,
    /// Entry of the PIO storm.
    pub io: u64,
    /// Entry of the MMIO storm.
    pub mmio: u64,
    /// The counting instructions.
    pub counts: Vec<Count>,
}

/// Assembles the loops.
pub fn assemble() -> Result<User, Box<dyn std::error::Error>> {
    let mut a = CodeAssembler::new(64)?;
    let busy = emit_busy(&mut a)?;
    let (io, pio_counts) = emit_io(&mut a)?;
    let (mmio, mmio_counts) = emit_mmio(&mut a)?;
    let done =
        a.assemble_options(USER_CODE, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
    let mut counts = Vec::new();
    for (labels, field) in [(pio_counts, LINE_PIO), (mmio_counts, LINE_MMIO)] {
        for label in labels {
            counts.push(Count { rip: done.label_ip(&label)?, field });
        }
    }
    Ok(User {
        busy: done.label_ip(&busy)?,
        io: done.label_ip(&io)?,
        mmio: done.label_ip(&mmio)?,
        counts,
        code: done.inner.code_buffer,
    })
}

fn emit_busy(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let mut busy = a.create_label();
    a.set_label(&mut busy)?;
    a.inc(qword_ptr(r15 + LINE_HEARTBEAT))?;
    a.jmp(busy)?;
    Ok(busy)
}

fn emit_io(a: &mut CodeAssembler) -> Result<(CodeLabel, [CodeLabel; 2]), IcedError> {
    let storm = Storm {
        count: LINE_PIO,
        prepare: |a| a.mov(edx, u32::from(UART_SCRATCH)),
        write: |a| a.out(u32::from(POST_PORT), al),
        read: |a| a.in_(al, dx),
        compare: |a| a.cmp(al, u32::from(SCRATCH_VALUE)),
    };
    storm.emit(a)
}

fn emit_mmio(a: &mut CodeAssembler) -> Result<(CodeLabel, [CodeLabel; 2]), IcedError> {
    let storm = Storm {
        count: LINE_MMIO,
        prepare: |a| a.mov(rbx, MMIO_HOLE),
        write: |a| a.mov(dword_ptr(rbx), eax),
        read: |a| a.mov(eax, dword_ptr(rbx)),
        compare: |a| a.cmp(eax, -1), // unclaimed addresses read as all ones
    };
    storm.emit(a)
}

type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// An endless loop of one write, one read and the check of what was read, a heartbeat per round.
struct Storm {
    /// Field of the line that counts the accesses.
    count: u64,
    /// Loads the registers that the accesses use; rax is theirs anyway.
    prepare: Emit,
    write: Emit,
    read: Emit,
    /// Sets ZF when the value read is the right one.
    compare: Emit,
}

impl Storm {
    /// Emits the loop; gives its entry and its two counting instructions.
    fn emit(&self, a: &mut CodeAssembler) -> Result<(CodeLabel, [CodeLabel; 2]), IcedError> {
        let [mut entry, mut again, mut written, mut read, mut good, mut bad] =
            std::array::from_fn(|_| a.create_label());
        a.set_label(&mut entry)?;
        (self.prepare)(a)?;
        a.set_label(&mut again)?;
        (self.write)(a)?;
        a.set_label(&mut written)?;
        a.inc(qword_ptr(r15 + self.count))?;
        a.xor(eax, eax)?; // a read that never completed must not pass for a good one
        (self.read)(a)?;
        a.set_label(&mut read)?;
        a.inc(qword_ptr(r15 + self.count))?;
        (self.compare)(a)?;
        a.jne(bad)?;
        a.set_label(&mut good)?;
        a.inc(qword_ptr(r15 + LINE_HEARTBEAT))?;
        a.jmp(again)?;
        a.set_label(&mut bad)?;
        a.inc(qword_ptr(r15 + LINE_BAD_READS))?;
        a.jmp(good)?;
        Ok((entry, [written, read]))
    }
}
