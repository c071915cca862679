//! Kernels that are none, and tiny ones that are.

/// An ELF kernel with `code` at `address`, entered there.
pub fn elf(address: u64, code: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01");
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [address, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0; 4]);
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    let length = code.len() as u64;
    for word in [0x1000, address, address, length, length, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.resize(0x1000, 0);
    file.extend(code);
    file
}

/// Where the tiny kernels lie.
pub const LOW: u64 = 2 << 20;
/// `hlt` with interrupts off, again and again.
pub const STOP: [u8; 4] = [0xFA, 0xF4, 0xEB, 0xFD];
/// `mov eax, 0D0000000h` · `jmp rax`: on to where there is no memory.
pub const ASTRAY: [u8; 7] = [0xB8, 0, 0, 0, 0xD0, 0xFF, 0xE0];

/// A bzImage (Linux `Documentation/arch/x86/boot.rst`) that ends after its header.
pub fn cut_bzimage() -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[0x1F1] = 4;
    file[0x1F4..0x1F8].copy_from_slice(&0x1_0000_u32.to_le_bytes());
    file[0x1FE..0x202].copy_from_slice(&[0x55, 0xAA, 0xEB, 0x6A]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20F_u16.to_le_bytes());
    file[0x211] = 1;
    file[0x236] = 1;
    file
}
