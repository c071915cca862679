//! From a payload to an entry point.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use linux_loader::loader::bootparam::setup_header;
use vm_memory::{Bytes, GuestAddress};

use super::image::{self, Format, Image};
use super::{
    BootError, Entry, KernelError, bzimage, elf, initramfs, layout, pvh, reset_vector, tables,
    zero_page,
};
use crate::memory::GuestRam;

/// The longest command line of a kernel that does not tell: Linux's `COMMAND_LINE_SIZE` on x86,
/// less the zero byte.
const CMDLINE_LIMIT: usize = 2047;

/// What to boot.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The kernel.
    pub kernel: KernelSource<'a>,
    /// The initial RAM file system.
    pub initramfs: Option<&'a Path>,
    /// The command line.
    pub cmdline: &'a str,
    /// Which entry point to take where there is a choice.
    pub entry: EntryPreference,
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug)]
pub enum KernelSource<'a> {
    /// A file.
    File(&'a Path),
    /// Bytes in memory.
    Memory {
        /// What errors call it.
        name: &'a str,
        /// The image.
        bytes: &'a [u8],
    },
}

/// Which entry point of an ELF kernel to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryPreference {
    /// The PVH entry if the kernel has the note for it, else the 64-bit one.
    #[default]
    Auto,
    /// The 64-bit entry.
    Long64,
}

/// A kernel that is in guest memory with all it needs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedKernel {
    /// Where the first vCPU begins.
    pub entry: Entry,
    /// Guest physical addresses that the kernel takes.
    pub kernel: Range<u64>,
    /// Guest physical addresses of the initramfs, if there is one.
    pub initramfs: Option<Range<u64>>,
}

/// Loads `payload` into `ram`, which must read as zeros.
pub fn load(ram: &GuestRam, payload: &Payload<'_>) -> Result<LoadedKernel, BootError> {
    if ram.size() < layout::MIN_RAM {
        return Err(BootError::TooLittleRam { size: ram.size() });
    }
    let kernel = load_kernel(ram, payload)?;
    write_cmdline(ram, payload.cmdline, kernel.cmdline_limit)?;
    let initramfs = payload
        .initramfs
        .map(|path| initramfs::load(ram, path, kernel.range.1, kernel.initramfs_ceiling))
        .transpose()?;
    match kernel.entry {
        Entry::Long64 { .. } => {
            zero_page::write(ram, kernel.header, initramfs)?;
            tables::write_page_tables(ram)?;
        }
        Entry::Pvh { .. } => pvh::write(ram, initramfs)?,
    }
    reset_vector::write(ram)?;
    tables::write_gdt(ram, kernel.entry.code_segment())?;
    Ok(LoadedKernel {
        entry: kernel.entry,
        kernel: kernel.range.0..kernel.range.1,
        initramfs: initramfs.map(|found| found.address.0..found.address.0 + found.size),
    })
}

/// What the kinds of kernel have in common.
struct Kernel {
    entry: Entry,
    range: (u64, u64),
    header: Option<setup_header>,
    cmdline_limit: usize,
    initramfs_ceiling: u64,
}

fn load_kernel(ram: &GuestRam, payload: &Payload<'_>) -> Result<Kernel, BootError> {
    let (name, result) = match payload.kernel {
        KernelSource::File(path) => (
            path.display().to_string(),
            image::open(path)
                .and_then(|(mut file, size)| load_image(ram, payload.entry, &mut file, size)),
        ),
        KernelSource::Memory { name, bytes } => (
            name.to_owned(),
            load_image(ram, payload.entry, &mut Cursor::new(bytes), bytes.len() as u64),
        ),
    };
    result.map_err(|error| BootError::Kernel { name, error })
}

fn load_image(
    ram: &GuestRam,
    preference: EntryPreference,
    image: &mut impl Image,
    size: u64,
) -> Result<Kernel, KernelError> {
    let head = image::head(image, size)?;
    match image::detect(&head)? {
        Format::BzImage => {
            let loaded = bzimage::load(ram, image, &head, size)?;
            let limit = usize::try_from(loaded.header.cmdline_size).unwrap_or(usize::MAX);
            Ok(Kernel {
                entry: Entry::Long64 { rip: loaded.entry },
                range: loaded.range,
                header: Some(loaded.header),
                cmdline_limit: limit,
                initramfs_ceiling: u64::from(loaded.header.initrd_addr_max) + 1,
            })
        }
        Format::Elf => {
            let loaded = elf::load(ram, image, &head, size)?;
            let entry = match (preference, loaded.pvh_entry) {
                (EntryPreference::Auto, Some(eip)) => Entry::Pvh { eip: GuestAddress(eip) },
                _ => Entry::Long64 { rip: GuestAddress(loaded.entry) },
            };
            Ok(Kernel {
                entry,
                range: loaded.range,
                header: None,
                cmdline_limit: CMDLINE_LIMIT,
                initramfs_ceiling: u64::MAX,
            })
        }
    }
}

fn write_cmdline(ram: &GuestRam, cmdline: &str, limit: usize) -> Result<(), BootError> {
    let limit = limit.min(layout::CMDLINE_ROOM - 1);
    if cmdline.len() > limit {
        return Err(BootError::CmdlineTooLong { len: cmdline.len(), limit });
    }
    if let Some(at) = cmdline.bytes().position(|byte| byte == 0) {
        return Err(BootError::CmdlineZero { at });
    }
    ram.memory().write_slice(cmdline.as_bytes(), layout::CMDLINE)?;
    // The zero at the end, also where RAM was not fresh.
    ram.memory().write_obj(0u8, GuestAddress(layout::CMDLINE.0 + cmdline.len() as u64))?;
    Ok(())
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
