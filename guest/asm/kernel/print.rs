//! Text on the 16550: strings, numbers, names of modes, the help.

use super::{Emit, Labels, control32, control64, place};
use crate::layout::UART;
use crate::mode::Mode;
use iced_x86::code_asm::*;

/// A piece of a message.
pub enum Part<'a> {
    /// These bytes.
    Text(&'a str),
    /// A register in decimal; not one that printing clobbers.
    Dec(AsmRegister64),
    /// A register in hexadecimal, the same.
    Hex(AsmRegister64),
    /// A 32-bit field of the control block, in decimal.
    Control32(u64),
    /// A 64-bit field of the control block, in hexadecimal.
    ControlHex(u64),
}

const LINE_STATUS: u16 = UART + 5;
const THR_EMPTY: i32 = 1 << 5;
/// Bytes that fit into an empty transmit FIFO.
const FIFO: u32 = 16;

/// Emits code that prints the parts in turn.
pub fn say(a: &mut CodeAssembler, l: &mut Labels, parts: &[Part<'_>]) -> Emit {
    for part in parts {
        match part {
            Part::Text(text) => {
                let label = l.data(a, text.as_bytes().to_vec());
                a.lea(rsi, ptr(label))?;
                a.mov(rcx, text.len() as u64)?;
                a.call(l.print)?;
            }
            Part::Dec(register) => {
                a.mov(rax, *register)?;
                a.call(l.print_dec)?;
            }
            Part::Hex(register) => {
                a.mov(rax, *register)?;
                a.call(l.print_hex)?;
            }
            Part::Control32(offset) => {
                a.mov(eax, control32(*offset))?;
                a.call(l.print_dec)?;
            }
            Part::ControlHex(offset) => {
                a.mov(rax, control64(*offset))?;
                a.call(l.print_hex)?;
            }
        }
    }
    Ok(())
}

pub fn emit(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    emit_print(a, l)?;
    emit_decimal(a, l)?;
    emit_hexadecimal(a, l)?;
    emit_mode(a, l)?;
    emit_help(a, l)
}

/// Waits for an empty transmitter, then fills its FIFO, and so on. A missing UART reads as all ones,
/// which looks empty: no wait there.
fn emit_print(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    let [mut burst, mut wait, mut byte, mut done] = std::array::from_fn(|_| a.create_label());
    a.set_label(&mut l.print)?;
    a.test(ecx, ecx)?;
    a.je(done)?;
    a.set_label(&mut burst)?;
    a.mov(edx, u32::from(LINE_STATUS))?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, THR_EMPTY)?;
    a.je(wait)?;
    a.mov(edx, u32::from(UART))?;
    a.mov(edi, FIFO)?;
    a.set_label(&mut byte)?;
    a.mov(al, byte_ptr(rsi))?;
    a.inc(rsi)?;
    a.out(dx, al)?;
    a.dec(ecx)?;
    a.je(done)?;
    a.dec(edi)?;
    a.jne(byte)?;
    a.jmp(burst)?;
    a.set_label(&mut done)?;
    a.ret()
}

/// Digits from the last to the first into a buffer on the stack.
fn emit_decimal(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    const BUFFER: i32 = 24; // 2^64 has 20 digits
    let mut digit = a.create_label();
    a.set_label(&mut l.print_dec)?;
    a.lea(rsi, ptr(rsp))?;
    a.sub(rsp, BUFFER)?;
    a.mov(edi, 10)?;
    a.set_label(&mut digit)?;
    a.xor(edx, edx)?;
    a.div(rdi)?;
    a.add(edx, i32::from(b'0'))?;
    a.dec(rsi)?;
    a.mov(byte_ptr(rsi), dl)?;
    a.test(rax, rax)?;
    a.jne(digit)?;
    a.lea(rcx, ptr(rsp + BUFFER))?;
    a.sub(rcx, rsi)?;
    a.call(l.print)?;
    a.add(rsp, BUFFER)?;
    a.ret()
}

/// `0x` and sixteen digits at most, leading zeroes left out.
fn emit_hexadecimal(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    const BUFFER: i32 = 24;
    let [mut digit, mut decimal] = std::array::from_fn(|_| a.create_label());
    a.set_label(&mut l.print_hex)?;
    a.lea(rsi, ptr(rsp))?;
    a.sub(rsp, BUFFER)?;
    a.set_label(&mut digit)?;
    a.mov(edx, eax)?;
    a.and(edx, 0xF)?;
    a.add(edx, i32::from(b'0'))?;
    a.cmp(edx, i32::from(b'9'))?;
    a.jbe(decimal)?;
    a.add(edx, i32::from(b'a' - b'9' - 1))?;
    a.set_label(&mut decimal)?;
    a.dec(rsi)?;
    a.mov(byte_ptr(rsi), dl)?;
    a.shr(rax, 4)?;
    a.jne(digit)?;
    a.sub(rsi, 2)?;
    a.mov(word_ptr(rsi), u32::from(u16::from_le_bytes(*b"0x")))?;
    a.lea(rcx, ptr(rsp + BUFFER))?;
    a.sub(rcx, rsi)?;
    a.call(l.print)?;
    a.add(rsp, BUFFER)?;
    a.ret()
}

fn emit_mode(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    place(a, &mut l.print_mode)?;
    for mode in Mode::ALL {
        let mut other = a.create_label();
        let title = l.data(a, mode.title().into());
        a.cmp(eax, u32::from(mode.number()))?;
        a.jne(other)?;
        a.lea(rsi, ptr(title))?;
        a.mov(rcx, mode.title().len() as u64)?;
        a.jmp(l.print)?;
        place(a, &mut other)?;
    }
    a.ret()
}

fn emit_help(a: &mut CodeAssembler, l: &mut Labels) -> Emit {
    place(a, &mut l.help)?;
    let modes = Mode::ALL.map(|mode| format!("{} {}", char::from(mode.key()), mode.title()));
    let text = format!(
        "\r\nkeys, for all vCPUs: {}\r\n      s status, r reboot, q quit, x crash, ? this help\r\n",
        modes.join(", ")
    );
    say(a, l, &[Part::Text(&text)])?;
    a.ret()
}
