//! Guest RAM: one memfd, mapped once, laid out around the 32-bit hole.
//!
//! ```text
//!  GPA        0            3 GiB      4 GiB                 4 GiB + (size - 3 GiB)
//!             |---- low ----|   hole   |-------- high --------|
//!  memfd      |---- low ----|-------- high --------|
//!             0           3 GiB                  size
//! ```
//!
//! The hole belongs to the I/O APIC, the local APICs and, later, PCI. RAM of at most 3 GiB has
//! no high part.
//!
//! Invariants:
//! - regions are sorted by guest physical address, don't overlap, and cover `size` bytes in all;
//! - the memfd is as long as the RAM and sealed: nobody who holds it can shrink it under the
//!   mapping, so an access through the mapping can't raise SIGBUS because of a truncation;
//! - a fresh [`GuestRam`] reads as zeros, and so does one after [`GuestRam::discard`].
mod advise;
mod error;
mod hugepages;
pub mod layout;
mod prefault;
mod ram;

pub use error::MemoryError;
pub use ram::{GuestRam, RamRegion};

/// The checked view of guest RAM that devices and loaders read and write through.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;
