//! The driver guest with its orders in the image: for a host that cannot write into the guest's memory, such as one that has the VMM in
//! another process.
//!
//! The lines of commands are part of what is loaded. A vCPU that finds an order there carries it out as if the host had just written it,
//! and does so again after each reset.

use crate::DRIVER_IMAGE;
use crate::driver::{
    ARENA_SIZE, ARENAS, ARGUMENTS, COMMAND, Command, HOT_TABLE, LINE_SIZE, LINES, MAX_VCPUS,
};

/// What a vCPU does from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The command.
    pub command: Command,
    /// Its arguments, at most eight.
    pub arguments: Vec<u64>,
}

/// The last program header: the one with the driver's memory.
const HEADER: usize = 64 + 2 * 56;
const OFFSET: usize = HEADER + 8;
const FILE_SIZE: usize = HEADER + 32;
const MEMORY_SIZE: usize = HEADER + 40;

/// The image with an order for each vCPU, in the order of their arrival. It needs RAM for as many only, which is up to the second value.
///
/// # Panics
/// With more orders than vCPUs can run the program, or more arguments than a line has room for.
#[must_use]
pub fn driver_image_with(orders: &[Order]) -> (Vec<u8>, u64) {
    assert!(orders.len() as u64 <= MAX_VCPUS, "{} orders", orders.len());
    let end = ARENAS + ARENA_SIZE * orders.len() as u64;
    let mut image = DRIVER_IMAGE.to_vec();
    let start = read(&image, OFFSET);
    let lines = LINES - HOT_TABLE;
    let size = lines + LINE_SIZE * MAX_VCPUS;
    write(&mut image, FILE_SIZE, size);
    write(&mut image, MEMORY_SIZE, end - HOT_TABLE);
    image.resize(to_usize(start + size), 0);
    for (line, order) in (0..).zip(orders) {
        assert!(order.arguments.len() <= 8, "{order:?}");
        let line = to_usize(start + lines + LINE_SIZE * line);
        for (index, argument) in order.arguments.iter().enumerate() {
            write(&mut image, line + to_usize(ARGUMENTS) + 8 * index, *argument);
        }
        write(&mut image, line + to_usize(COMMAND), 1 << 32 | order.command as u64);
    }
    (image, end)
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read(image: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&image[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn write(image: &mut [u8], at: usize, value: u64) {
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use linux_loader::loader::{KernelLoader, elf::Elf};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;

    #[test]
    fn the_orders_are_in_the_lines_and_the_rest_is_as_without() {
        let orders = [
            Order { command: Command::Patrol, arguments: vec![7, 8] },
            Order { command: Command::Lease, arguments: vec![3] },
        ];
        let (image, end) = driver_image_with(&orders);
        let load = |image: &[u8], end: u64| {
            let ranges = [(GuestAddress(0), usize::try_from(end).unwrap())];
            let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges).unwrap();
            let loaded = Elf::load(&memory, None, &mut Cursor::new(image), None).unwrap();
            (memory, loaded.kernel_end)
        };
        let (memory, loaded_to) = load(&image, end);
        assert_eq!(loaded_to, end);
        let word = |line: u64, offset: u64| -> u64 {
            memory.read_obj(GuestAddress(LINES + LINE_SIZE * line + offset)).unwrap()
        };
        assert_eq!(word(0, COMMAND), 1 << 32 | Command::Patrol as u64);
        assert_eq!((word(0, ARGUMENTS), word(0, ARGUMENTS + 8)), (7, 8));
        assert_eq!((word(1, COMMAND), word(1, ARGUMENTS)), (1 << 32 | Command::Lease as u64, 3));
        assert_eq!((word(1, ARGUMENTS + 8), word(2, COMMAND)), (0, 0));
        let (plain, _) = load(DRIVER_IMAGE, crate::driver::MEMORY_END);
        let mut bytes = [vec![0; 1 << 20], vec![0; 1 << 20]];
        for (bytes, memory) in bytes.iter_mut().zip([&memory, &plain]) {
            memory.read_slice(bytes, GuestAddress(crate::driver::CODE)).unwrap();
        }
        assert!(bytes[0] == bytes[1], "program and page table");
    }
}
