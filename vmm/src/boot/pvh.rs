//! `hvm_start_info`, what the PVH entry gets in EBX (Xen `docs/misc/pvh.pandoc` and
//! `public/arch-x86/hvm/start_info.h`).

use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{Bytes, GuestAddress};

use super::initramfs::Initramfs;
use super::{BootError, layout, memory_map};
use crate::memory::{self, GuestRam};

/// Version 1 added the memory map.
const VERSION: u32 = 1;

/// Writes the start info and all that it points to but the command line.
pub(super) fn write(ram: &GuestRam, initramfs: Option<Initramfs>) -> Result<(), BootError> {
    let memory = ram.memory();
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        cmdline_paddr: layout::CMDLINE.0,
        rsdp_paddr: memory::layout::RSDP.0,
        memmap_paddr: layout::PVH_MEMORY_MAP.0,
        ..hvm_start_info::default()
    };
    if let Some(Initramfs { address, size }) = initramfs {
        let module = hvm_modlist_entry { paddr: address.0, size, ..hvm_modlist_entry::default() };
        memory.write_obj(module, layout::MODULES)?;
        info.nr_modules = 1;
        info.modlist_paddr = layout::MODULES.0;
    }
    let mut next = layout::PVH_MEMORY_MAP;
    for range in memory_map::ranges(ram) {
        let entry = hvm_memmap_table_entry {
            addr: range.start,
            size: range.size,
            type_: range.kind as u32,
            reserved: 0,
        };
        memory.write_obj(entry, next)?;
        next = GuestAddress(next.0 + size_of::<hvm_memmap_table_entry>() as u64);
        info.memmap_entries += 1;
    }
    memory.write_obj(info, layout::START_INFO)?;
    Ok(())
}
