//! The guest's code and tables, put together into one image.
//!
//! Every part has a fixed address from `layout`, so the parts refer to each other by plain numbers;
//! only the addresses of labels travel from one to the next: the CPL 3 loops are assembled first,
//! then the kernel that jumps to them, then the trampoline and the IDT that point into the kernel.

mod elf;
mod idt;
mod kernel;
mod pages;
mod trampoline;
mod user;

use crate::driver;
use crate::layout::{ENTRY, IDT, IMAGE_BASE, IMAGE_LIMIT, MEMORY_END, TRAMPOLINE_IMAGE, USER_CODE};
use std::error::Error;

/// What vCPUs do in the mode that is called halt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// They halt.
    Halt,
    /// They run the driver program, for good.
    Driver,
}

/// Builds the complete ELF file.
pub fn image() -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(elf::file(&[guest(Idle::Halt)?]))
}

/// Builds the ELF file of the driver guest, around the compiled program.
pub fn driver_image(program: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
    let room = driver::HOT_TABLE - driver::CODE;
    if program.len() as u64 > room {
        return Err(format!("the driver has {} bytes, room for {room}", program.len()).into());
    }
    let end = driver::HOT_TABLE;
    let program = elf::Segment { bytes: program, address: driver::CODE, end };
    let table = elf::Segment { bytes: pages::hot(), address: end, end: driver::MEMORY_END };
    Ok(elf::file(&[guest(Idle::Driver)?, program, table]))
}

fn guest(idle: Idle) -> Result<elf::Segment, Box<dyn Error>> {
    let user = user::assemble()?;
    let kernel = kernel::assemble(&user, idle)?;
    let mut image = Image::default();
    image.put(IMAGE_BASE, &pages::tables(idle), USER_CODE)?;
    image.put(USER_CODE, &user.code, TRAMPOLINE_IMAGE)?;
    image.put(TRAMPOLINE_IMAGE, &trampoline::assemble(kernel.ap_entry)?, IDT)?;
    image.put(IDT, &idt::table(&kernel.gates), ENTRY)?;
    image.put(ENTRY, &kernel.code, IMAGE_LIMIT)?;
    Ok(elf::Segment { bytes: image.bytes, address: IMAGE_BASE, end: MEMORY_END })
}

/// The bytes from `IMAGE_BASE` on.
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// Appends a part at its address; it must end at or before `limit`.
    fn put(&mut self, at: u64, part: &[u8], limit: u64) -> Result<(), Box<dyn Error>> {
        let room = usize::try_from(limit - at)?;
        if part.len() > room {
            return Err(
                format!("guest part at {at:#x}: {} bytes, room for {room}", part.len()).into()
            );
        }
        self.bytes.resize(usize::try_from(at - IMAGE_BASE)?, 0);
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}
