//! Tiny kernels: an ELF file with one segment of code, entered in 64-bit mode at CPL 0 with the low
//! 4 GiB mapped to themselves and no IDT.

/// Where the code lies and begins.
pub const LOAD: u64 = 2 << 20;

/// `mov dx, 3f8h` · `mov al, 'T'` · `out dx, al`: a sign of life on the serial port.
pub const SAY_T: [u8; 7] = [0x66, 0xBA, 0xF8, 0x03, 0xB0, b'T', 0xEE];

/// `cli` · `hlt` · `jmp` back to the `hlt`: nothing more.
pub const STOP: [u8; 4] = [0xFA, 0xF4, 0xEB, 0xFD];

/// Wraps code (System V gABI, chapters 4 and 5): the headers, then the segment at 0x1000.
pub fn elf(code: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"\x7FELF\x02\x01\x01");
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [LOAD, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0; 4]);
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    let length = code.len() as u64;
    for word in [0x1000, LOAD, LOAD, length, length + 0x1000, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.resize(0x1000, 0);
    file.extend(code);
    file
}
