//! `struct boot_params`, the "zero page" of the 64-bit boot protocol
//! (Linux `Documentation/arch/x86/zero-page.rst`), and the random seed that hangs on it.

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::Bytes;

use super::initramfs::Initramfs;
use super::{BootError, layout, memory_map};
use crate::memory::{self, GuestRam};

/// "Undefined" boot loader: no number is assigned to this one.
const LOADER_UNDEFINED: u8 = 0xFF;

/// Signatures of the boot sector and of the setup header.
const BOOT_FLAG: u16 = 0xAA55;
const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"HdrS");

/// `setup_data` of type `SETUP_RNG_SEED` (Linux 6.0): the guest mixes it into its entropy
/// pool and wipes it. Others skip it.
const SETUP_RNG_SEED: u32 = 9;
const SEED_LEN: u32 = 32;

/// Writes the zero page, with `header` out of the image if it had one, and what it points to
/// but the command line.
pub(super) fn write(
    ram: &GuestRam,
    header: Option<setup_header>,
    initramfs: Option<Initramfs>,
) -> Result<(), BootError> {
    let mut params = boot_params { hdr: header.unwrap_or_default(), ..boot_params::default() };
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = HEADER_MAGIC;
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.acpi_rsdp_addr = memory::layout::RSDP.0;
    (params.hdr.cmd_line_ptr, params.ext_cmd_line_ptr) = halves(layout::CMDLINE.0);
    if let Some(Initramfs { address, size }) = initramfs {
        (params.hdr.ramdisk_image, params.ext_ramdisk_image) = halves(address.0);
        (params.hdr.ramdisk_size, params.ext_ramdisk_size) = halves(size);
    }
    let mut count = 0;
    let mut table = params.e820_table;
    for (slot, range) in table.iter_mut().zip(memory_map::ranges(ram)) {
        *slot = boot_e820_entry { addr: range.start, size: range.size, r#type: range.kind as u32 };
        count += 1;
    }
    params.e820_table = table;
    params.e820_entries = count;
    params.hdr.setup_data = write_seed(ram)?;
    ram.memory().write_obj(params, layout::ZERO_PAGE)?;
    Ok(())
}

/// Writes the seed and returns its address.
fn write_seed(ram: &GuestRam) -> Result<u64, BootError> {
    let mut seed = [0; SEED_LEN as usize];
    let mut filled = 0;
    while filled < seed.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut seed[filled..], flags) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(BootError::Random(errno.into())),
        }
    }
    // struct setup_data: u64 next, u32 type, u32 length, then the data.
    let mut bytes = Vec::with_capacity(16 + seed.len());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(SETUP_RNG_SEED.to_le_bytes());
    bytes.extend(SEED_LEN.to_le_bytes());
    bytes.extend(seed);
    ram.memory().write_slice(&bytes, layout::RANDOM_SEED)?;
    Ok(layout::RANDOM_SEED.0)
}

/// The low and the high 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}
