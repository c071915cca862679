//! The AP trampoline: real mode at the SIPI page to 64-bit code in one step.
//!
//! It uses no stack and no data but the GDT pointer behind its code, so any number of APs may run
//! it at once.

use crate::layout::{FIRST_TSS, GDT, KERNEL_CS, MAX_VCPUS, PML4};
use iced_x86::{IcedError, code_asm::*};

/// CR4 of every vCPU: PAE only.
pub const CR4: u32 = 1 << 5;
/// CR0 of every vCPU: PE, MP, ET, NE, WP, PG; caches on.
pub const CR0: u32 = 0x8001_0033;
/// The GDT's limit: the fixed descriptors and a TSS descriptor per vCPU.
pub const GDT_LIMIT: u16 = FIRST_TSS + 16 * MAX_VCPUS as u16 - 1;

const MSR_EFER: u32 = 0xC000_0080;
const EFER_LME: u32 = 1 << 8;

// A 16-bit `lgdt` takes 24 bits of base.
const _: () = assert!(GDT < 1 << 24);

/// Assembles the trampoline for an AP entry point in 64-bit code below 4 GiB.
pub fn assemble(ap_entry: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let ap_entry = u32::try_from(ap_entry)?;
    // The GDT pointer stands at a fixed offset: real-mode addressing knows no labels.
    const GDT_POINTER: usize = 0x60;
    let mut code = assemble_code(ap_entry, GDT_POINTER as u32)?;
    if code.len() > GDT_POINTER {
        return Err("the AP trampoline has grown over its GDT pointer".into());
    }
    code.resize(GDT_POINTER, 0);
    code.extend(GDT_LIMIT.to_le_bytes());
    code.extend(u32::try_from(GDT)?.to_le_bytes());
    code.resize(code.len().next_multiple_of(8), 0);
    Ok(code)
}

fn assemble_code(ap_entry: u32, gdt_pointer: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    a.cli()?;
    a.mov(ax, cs)?;
    a.mov(ds, ax)?;
    a.lgdt(ptr(gdt_pointer))?;
    a.mov(eax, PML4 as u32)?;
    a.mov(cr3, eax)?;
    a.mov(eax, CR4)?;
    a.mov(cr4, eax)?;
    a.mov(ecx, MSR_EFER)?;
    a.mov(eax, EFER_LME)?;
    a.xor(edx, edx)?;
    a.wrmsr()?;
    // Protection and paging at once: straight into compatibility mode, then into the 64-bit segment.
    a.mov(eax, CR0)?;
    a.mov(cr0, eax)?;
    let mut code = a.assemble(0)?;
    code.extend([0x66, 0xEA]); // far jump with a 32-bit offset, which iced offers only outside 16-bit code
    code.extend(ap_entry.to_le_bytes());
    code.extend(KERNEL_CS.to_le_bytes());
    Ok(code)
}
