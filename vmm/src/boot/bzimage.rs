//! Distribution kernels: bzImage through the 64-bit boot protocol
//! (Linux `Documentation/arch/x86/boot.rst`).

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, KernelLoader};
use vm_memory::{ByteValued, GuestAddress};

use super::KernelError;
use super::image::{Image, bytes_at};
use crate::memory::{GuestRam, layout::HIGH_MEMORY};

/// Where the setup header begins in the file.
const HEADER: usize = 0x1F1;

/// The first protocol with `xloadflags`, and so with a 64-bit entry point that is announced.
const OLDEST: u16 = 0x20C;

/// `xloadflags`: the kernel has a 64-bit entry point at 0x200.
const XLF_KERNEL_64: u16 = 1 << 0;

/// `loadflags`: the protected-mode code goes to high memory.
const LOADED_HIGH: u8 = 1 << 0;

/// The 64-bit entry point, from the beginning of the protected-mode code.
const ENTRY_64: u64 = 0x200;

/// A bzImage in guest memory.
pub(super) struct Loaded {
    /// The 64-bit entry point.
    pub(super) entry: GuestAddress,
    /// Memory that the kernel takes while it decompresses itself: from, to.
    pub(super) range: (u64, u64),
    /// The header, to be handed back in the zero page.
    pub(super) header: setup_header,
}

pub(super) fn load(
    ram: &GuestRam,
    image: &mut impl Image,
    head: &[u8],
    size: u64,
) -> Result<Loaded, KernelError> {
    let header = header(head, size)?;
    check(&header)?;
    let code = code_size(&header, size)?;
    // The kernel needs init_size from its load address on; a damaged header could give less
    // than what is loaded.
    let needed = u64::from(header.init_size).max(code);
    let start = place(&header, needed, ram.low_size())?;
    // The loader takes the same header from the image and puts the load address into it.
    let loaded =
        BzImage::load(ram.memory(), Some(start), image, None).map_err(KernelError::Loader)?;
    let code32_start = loaded.setup_header.map_or(0, |header| header.code32_start);
    Ok(Loaded {
        entry: GuestAddress(start.0 + ENTRY_64),
        range: (start.0, start.0 + needed),
        header: setup_header { code32_start, ..header },
    })
}

/// The header, without what lies past its own end: that is code.
fn header(head: &[u8], size: u64) -> Result<setup_header, KernelError> {
    let mut header = setup_header::default();
    let room = header.as_slice().len();
    // The jump at 0x200 leads past the header; its displacement is one byte, from 0x202.
    let [displacement] = bytes_at(head, 0x201).ok_or_else(|| cut("setup header", 0x202, size))?;
    let end = 0x202 + usize::from(displacement);
    let len = (end - HEADER).min(room);
    let bytes = head
        .get(HEADER..HEADER + len)
        .ok_or_else(|| cut("setup header", (HEADER + len) as u64, size))?;
    header.as_mut_slice()[..len].copy_from_slice(bytes);
    Ok(header)
}

fn check(header: &setup_header) -> Result<(), KernelError> {
    if header.version < OLDEST {
        return Err(KernelError::TooOld { version: header.version });
    }
    if header.loadflags & LOADED_HIGH == 0 {
        return Err(KernelError::Damaged("it is a zImage, which loads low"));
    }
    if header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(KernelError::Bits32);
    }
    Ok(())
}

/// Bytes of the protected-mode code in the file, checked against what the header promises.
fn code_size(header: &setup_header, size: u64) -> Result<u64, KernelError> {
    // 0 means 4, for the sake of very old kernels; the boot sector comes on top.
    let sectors = match header.setup_sects {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let setup = (sectors + 1) * 512;
    let code = u64::from(header.syssize) * 16;
    let payload = u64::from(header.payload_offset) + u64::from(header.payload_length);
    for (part, len) in [("kernel code", code), ("compressed kernel", payload)] {
        let end = setup + len;
        if end > size {
            return Err(cut(part, end, size));
        }
    }
    if code <= ENTRY_64 {
        return Err(KernelError::Damaged("the kernel code is too short for an entry point"));
    }
    // What follows the code (a signature) is loaded with it.
    Ok(size - setup)
}

/// Where to load: the preferred address if it has room, else, for a relocatable kernel, as low
/// as its alignment allows.
fn place(header: &setup_header, needed: u64, ram: u64) -> Result<GuestAddress, KernelError> {
    let preferred = header.pref_address;
    let fits = |start: u64| start.checked_add(needed).is_some_and(|end| end <= ram);
    if preferred >= HIGH_MEMORY.0 && fits(preferred) {
        return Ok(GuestAddress(preferred));
    }
    let start = if header.relocatable_kernel == 0 {
        preferred
    } else {
        let alignment = u64::from(header.kernel_alignment);
        if !alignment.is_power_of_two() {
            return Err(KernelError::Damaged("the alignment is not a power of two"));
        }
        HIGH_MEMORY.0.next_multiple_of(alignment)
    };
    if start < HIGH_MEMORY.0 {
        return Err(KernelError::TooLow { start });
    }
    if !fits(start) {
        return Err(KernelError::DoesNotFit { start, end: start.saturating_add(needed), ram });
    }
    Ok(GuestAddress(start))
}

fn cut(part: &'static str, end: u64, size: u64) -> KernelError {
    KernelError::Truncated { part, end, size }
}

#[cfg(test)]
#[path = "bzimage_tests.rs"]
mod tests;
