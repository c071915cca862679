//! Guest RAM over a file of which a part is given back: anonymous memory takes its place, because the file must keep what it has.
//!
//! Each part that is given back apart from others is a mapping of its own, of which a process has 65,530 unless the operator allows more
//! (`vm.max_map_count`). When there are no more, the part is filled with zeros and stays with the VM: a balloon gives back less then, and the
//! guest sees no difference.

use std::io;

use ::migration::memory::PAGE_SIZE;
use rustix::io::Errno;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::GuestMemory;
use super::advise::{Keep, Span};

/// Has whole pages at an address of this process read as zeros.
pub(super) fn zeros(memory: &GuestMemory, place: (usize, usize)) -> io::Result<()> {
    let span = Span::part(memory, place).ok_or_else(no_ram)?;
    match span.replace_by_zeros() {
        Err(error) if error.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) => {
            fill(memory, place)
        }
        Err(error) => Err(error),
        Ok(()) => {
            // Advice is of a mapping, and this is a new one.
            if let Err(error) = span.advise(Keep::OutOfDumps) {
                tracing::debug!(%error, "the host does not take this memory advice");
            }
            Ok(())
        }
    }
}

/// Gets pages from the host now.
pub(super) fn fault_in(memory: &GuestMemory, place: (usize, usize)) -> io::Result<()> {
    Span::part(memory, place).ok_or_else(no_ram)?.advise(Keep::FaultIn)
}

/// The same, of pages that stay.
pub(super) fn fill(memory: &GuestMemory, (address, len): (usize, usize)) -> io::Result<()> {
    let zeros = [0; PAGE_SIZE];
    for address in (address..address + len).step_by(zeros.len()) {
        let gpa = memory.iter().find_map(|region| {
            let offset = address.checked_sub(region.as_ptr().addr())?;
            (offset < region.size()).then(|| GuestAddress(region.start_addr().0 + offset as u64))
        });
        memory.write_slice(&zeros, gpa.ok_or_else(no_ram)?).map_err(io::Error::other)?;
    }
    Ok(())
}

fn no_ram() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no guest RAM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeros_with_a_mapping_of_their_own_or_without() {
        let memory = devices::memory::anonymous(&[(GuestAddress(1 << 20), 1 << 20)]).unwrap();
        let base = memory.iter().next().unwrap().as_ptr().addr();
        for how in [zeros, fill] {
            let all = vec![7; 5 * 4096];
            memory.write_slice(&all, GuestAddress(1 << 20)).unwrap();
            how(&memory, (base + 4096, 2 * 4096)).unwrap();
            let mut read = all.clone();
            memory.read_slice(&mut read, GuestAddress(1 << 20)).unwrap();
            let expected: Vec<_> =
                [7, 0, 0, 7, 7].into_iter().flat_map(|byte| [byte; 4096]).collect();
            assert_eq!(read, expected);
        }
        zeros(&memory, (base + (1 << 20) - 4096, 2 * 4096)).unwrap_err();
    }
}
