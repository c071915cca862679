//! The image, loaded as a VMM loads it.

#![expect(clippy::unwrap_used, reason = "a test's helper: what fails here fails the test")]

use linux_loader::loader::{KernelLoader, KernelLoaderResult, elf::Elf};
use std::io::Cursor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Guest RAM with the image in it.
pub struct Loaded {
    /// What the loader found out.
    pub result: KernelLoaderResult,
    memory: GuestMemoryMmap,
}

/// Loads the image into as much RAM as it asks for.
pub fn load() -> Loaded {
    let size = usize::try_from(stillpoint_guest::layout::MEMORY_END).unwrap();
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).unwrap();
    let mut file = Cursor::new(stillpoint_guest::IMAGE);
    let result = Elf::load(&memory, None, &mut file, Some(GuestAddress(0x10_0000))).unwrap();
    Loaded { result, memory }
}

impl Loaded {
    /// A 64-bit word of guest memory.
    pub fn word(&self, gpa: u64) -> u64 {
        self.memory.read_obj(GuestAddress(gpa)).unwrap()
    }

    /// Bytes of guest memory.
    pub fn bytes(&self, gpa: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(gpa)).unwrap();
        bytes
    }
}
