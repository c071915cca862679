//! The interrupt descriptor table (Intel SDM vol. 3, 6.14.1).

use crate::layout::KERNEL_CS;

/// Which stack an interrupt handler starts on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// The interrupted one at CPL 0, RSP0 of the TSS from CPL 3.
    Main,
    /// IST 1: for NMI and double fault, which can come when the main stack is not to be trusted.
    Ist1,
}

/// One gate: where the vector's handler is and which stack it takes.
#[derive(Clone, Copy)]
pub struct Gate {
    /// Address of the handler.
    pub handler: u64,
    /// Its stack.
    pub stack: Stack,
}

/// Encodes the gates, by vector, as 64-bit interrupt gates (IF is cleared on the way in).
pub fn table(gates: &[Gate]) -> Vec<u8> {
    gates.iter().flat_map(|gate| encode(*gate)).collect()
}

/// Attributes of every gate: present, DPL 0, 64-bit interrupt gate.
const ATTRIBUTES: u8 = 0x8E;

fn encode(gate: Gate) -> [u8; 16] {
    let handler = gate.handler.to_le_bytes();
    let selector = KERNEL_CS.to_le_bytes();
    let ist = match gate.stack {
        Stack::Main => 0,
        Stack::Ist1 => 1,
    };
    [
        handler[0],
        handler[1],
        selector[0],
        selector[1],
        ist,
        ATTRIBUTES,
        handler[2],
        handler[3],
        handler[4],
        handler[5],
        handler[6],
        handler[7],
        0,
        0,
        0,
        0,
    ]
}
