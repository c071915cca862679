//! Guest RAM: one memfd, mapped once, laid out around the 32-bit hole.
//!
//! ```text
//!  GPA        0            3 GiB      4 GiB                 4 GiB + (size - 3 GiB)   a multiple of 2 GiB
//!             |---- low ----|   hole   |-------- high --------|                      |---- hot ----|
//!  memfd      |---- low ----|-------- high --------|---- hot ----|
//!             0           3 GiB                  size          size + hotplug_size
//! ```
//!
//! The hole belongs to the I/O APIC, the local APICs and, later, PCI. RAM of at most 3 GiB has
//! no high part.
//!
//! What is hot is for memory that is plugged later (virtio-mem). It is one region, mapped and known to KVM from the start and without a
//! page of the host's; no map or table calls it RAM. What is plugged of it is the device's to know, and that device gives blocks back that
//! are unplugged. A guest that touches what is not plugged, against the rules, gets pages that read as zeros: the worst that it can have of
//! the host is `hotplug_size`, which the operator has promised it anyway, and they go back when the block is plugged, when all is unplugged
//! and when the machine restarts. (To take it out of KVM's sight would need a slot of its own for each block, and leave devices' DMA.)
//!
//! A VM that is restored on demand has a memfd whose pages come when they are touched (module `lazy`), or has its RAM over a snapshot's file instead of a memfd, mapped
//! privately: what nobody has written yet is in the file, the rest is this process's own, and what was given back is anonymous memory.
//!
//! Invariants:
//! - regions are sorted by guest physical address, don't overlap, and cover `size` bytes in all, and `hotplug_size` more;
//! - a memfd is as long as the RAM and sealed: nobody who holds it can shrink it under the
//!   mapping, so an access through the mapping can't raise SIGBUS because of a truncation;
//! - a fresh [`GuestRam`] reads as zeros, and so does one after [`GuestRam::discard`].
mod adopt;
mod advise;
mod claim;
mod error;
mod hugepages;
pub mod layout;
mod lazy;
mod make;
mod migration;
#[cfg(test)]
mod over_tests;
mod overlay;
mod pagemap;
mod pages;
mod prefault;
mod ram;
mod uffd;
#[cfg(test)]
mod write_out;

pub use adopt::Apart;
pub use claim::Claimed;
pub use error::MemoryError;
pub(crate) use lazy::{Counted, Failure, LazyRam, PageServer};
pub use migration::MigrationMemory;
pub use ram::{GuestRam, RamRegion};
pub use uffd::UffdError;

/// The checked view of guest RAM that devices and loaders read and write through.
pub use devices::memory::GuestMemory;
