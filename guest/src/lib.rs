//! The embedded SMP guest.
pub mod layout;
mod mode;
pub use mode::Mode;
/// The guest as an ELF64 executable.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));
