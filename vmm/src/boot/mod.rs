//! Getting a kernel into guest memory and the first vCPU to its entry point.
//!
//! ```text
//!              ┌─ bzImage ──────────────────────────> 64-bit entry + zero page
//!  payload ────┤
//!              └─ ELF ──┬─ with a PVH note ─────────> 32-bit entry + hvm_start_info
//!                       └─ without, or Long64 asked ─> 64-bit entry + zero page
//! ```
//!
//! What lies where below 1 MiB is in [`layout`]; the kernel lies at 1 MiB or higher and the
//! initramfs as high below the 32-bit hole as the kernel allows.
//!
//! The order in a VM's life: make RAM → register its regions with KVM → [`load`] →
//! [`acpi::write`](crate::acpi::write) → per vCPU CPUID, then the system registers with
//! [`ApicMode::apply`], then [`msrs`], [`fpu`] and [`wire_lint1`]; the first vCPU also gets
//! [`Entry::sregs`] and [`Entry::regs`]. The others need nothing more: KVM has them wait for a
//! start-up IPI.
//!
//! Invariants:
//! - every number out of an image is checked before it is used: a bad image is an error, never a
//!   panic, and never a write outside RAM;
//! - an image is loaded into RAM that reads as zeros, so the parts of it that are not in the
//!   file (`.bss`) need no writing.
mod bzimage;
mod elf;
mod error;
mod image;
mod initramfs;
mod lapic;
pub mod layout;
mod loader;
mod memory_map;
mod pvh;
mod registers;
mod reset_vector;
mod tables;
mod zero_page;

pub use error::{BootError, KernelError};
pub use lapic::{ApicMode, wire_lint1};
pub use loader::{EntryPreference, KernelSource, LoadedKernel, Payload, load};
pub use registers::{Entry, fpu, msrs};

#[cfg(test)]
mod kvm_tests;
#[cfg(test)]
pub(crate) mod test_images;
