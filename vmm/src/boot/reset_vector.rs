//! The one piece of firmware that this machine has: code at the reset vector that resets it.
//!
//! Linux with EFI support, on hardware-reduced ACPI, takes for granted that EFI can reset the
//! machine. Where it was not booted by EFI, its next try is to leave protected mode and jump to
//! F000:FFF0, as on a PC of 1985; it never comes to ACPI's reset register
//! (Linux `arch/x86/kernel/reboot.c`). So what it finds there writes that register.

use vm_memory::Bytes;

use super::BootError;
use crate::acpi::{RESET_PORT, RESET_VALUE};
use crate::memory::{GuestRam, layout::RESET_VECTOR};

/// Real-mode code; it must fit the 16 bytes up to 1 MiB.
const fn code() -> [u8; 9] {
    let [low, high] = RESET_PORT.to_le_bytes();
    [
        0xB0,
        RESET_VALUE, // mov al, RESET_VALUE
        0xBA,
        low,
        high, // mov dx, RESET_PORT
        0xEE, // out dx, al
        0xF4, // hlt
        0xEB,
        0xFD, // jmp to the hlt
    ]
}

/// Writes the code.
pub(super) fn write(ram: &GuestRam) -> Result<(), BootError> {
    ram.memory().write_slice(&code(), RESET_VECTOR)?;
    Ok(())
}
