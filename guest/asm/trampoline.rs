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
#[expect(clippy::cast_possible_truncation, reason = "1024 by the assertion below")]
pub const GDT_LIMIT: u16 = FIRST_TSS + 16 * MAX_VCPUS as u16 - 1;
const _: () = assert!(MAX_VCPUS == 1024);

const MSR_EFER: u32 = 0xC000_0080;
const EFER_LME: u32 = 1 << 8;

/// Where in the page the GDT pointer stands, behind the code.
const GDT_POINTER: u16 = 0x60;
// A 16-bit `lgdt` takes 24 bits of base.
const _: () = assert!(GDT < 1 << 24);

/// Assembles the trampoline for an AP entry point in 64-bit code below 4 GiB.
pub fn assemble(ap_entry: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut code = assemble_code(u32::try_from(PML4)?)?;
    // A far jump with a 32-bit offset, which iced offers only outside 16-bit code.
    code.extend([0x66, 0xEA]);
    code.extend(u32::try_from(ap_entry)?.to_le_bytes());
    code.extend(KERNEL_CS.to_le_bytes());
    if code.len() > usize::from(GDT_POINTER) {
        return Err("the AP trampoline has grown over its GDT pointer".into());
    }
    code.resize(usize::from(GDT_POINTER), 0);
    code.extend(GDT_LIMIT.to_le_bytes());
    code.extend(u32::try_from(GDT)?.to_le_bytes());
    Ok(code)
}

/// Real-mode code up to the point where paging and 64-bit segments are available.
fn assemble_code(pml4: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    a.cli()?;
    a.mov(ax, cs)?;
    a.mov(ds, ax)?;
    a.lgdt(ptr(GDT_POINTER))?;
    a.mov(eax, pml4)?;
    a.mov(cr3, eax)?;
    a.mov(eax, CR4)?;
    a.mov(cr4, eax)?;
    a.mov(ecx, MSR_EFER)?;
    a.mov(eax, EFER_LME)?;
    a.xor(edx, edx)?;
    a.wrmsr()?;
    // Protection and paging at once: into compatibility mode, from there into the 64-bit segment.
    a.mov(eax, CR0)?;
    a.mov(cr0, eax)?;
    a.assemble(0)
}
