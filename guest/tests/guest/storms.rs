//! The loops at CPL 3, disassembled: exact counting rests on the order of their instructions.

use crate::loaded::load;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};
use stillpoint_guest::layout;

fn user_code() -> Vec<Instruction> {
    let bytes = load().bytes(layout::USER_CODE, 0x1000);
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Decoder::with_ip(64, &bytes[..length], layout::USER_CODE, DecoderOptions::NONE).iter().collect()
}

/// The field of the line that an access must be counted in, if the instruction is an access.
fn counted_in(instruction: &Instruction) -> Option<u64> {
    match instruction.code() {
        Code::Out_imm8_AL | Code::In_AL_DX => Some(layout::LINE_PIO),
        Code::Mov_rm32_r32 | Code::Mov_r32_rm32 if instruction.memory_base() == Register::RBX => {
            Some(layout::LINE_MMIO)
        }
        _ => None,
    }
}

#[test]
fn the_instruction_after_an_access_counts_it() {
    let code = user_code();
    let mut accesses = 0;
    for pair in code.windows(2) {
        if let Some(field) = counted_in(&pair[0]) {
            accesses += 1;
            assert_eq!(pair[1].code(), Code::Inc_rm64, "after {:#x}", pair[0].ip());
            assert_eq!(pair[1].memory_base(), Register::R15);
            assert_eq!(pair[1].memory_displacement64(), field);
        }
    }
    assert_eq!(accesses, 4, "a write and a read in each storm");
}

#[test]
fn every_instruction_decodes_and_none_needs_privilege_or_a_stack() {
    for instruction in user_code() {
        assert!(!instruction.is_invalid(), "{:#x}", instruction.ip());
        let expected = matches!(
            instruction.mnemonic(),
            Mnemonic::Inc
                | Mnemonic::Jmp
                | Mnemonic::Jne
                | Mnemonic::Mov
                | Mnemonic::Out
                | Mnemonic::In
                | Mnemonic::Xor
                | Mnemonic::Cmp
        );
        assert!(expected, "{:?} at {:#x}", instruction.mnemonic(), instruction.ip());
    }
}

#[test]
fn the_loops_use_the_addresses_of_the_layout() {
    let code = user_code();
    let immediate = |value| {
        code.iter()
            .any(|i| i.op_count() == 2 && i.try_immediate(1).is_ok_and(|found| found == value))
    };
    assert!(immediate(layout::MMIO_HOLE));
    assert!(immediate(u64::from(layout::UART_SCRATCH)));
    let out = code.iter().find(|i| i.mnemonic() == Mnemonic::Out).unwrap();
    assert_eq!(u16::from(out.immediate8()), layout::POST_PORT);
}
