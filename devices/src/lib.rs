//! Guest-visible devices of which no register takes a lock.
//!
//! Every device is a register block made of atomics that any vCPU may touch at any time through
//! `&self`; what would take time (a write to the host's terminal, a request to power off) is
//! handed to a thread that is not a vCPU. Nothing here knows KVM: interrupts and power requests
//! leave through the traits [`Interrupt`] and [`PowerSink`].
// Only where the kernel is given addresses: each such module says so itself.
#![deny(unsafe_code)]

pub mod acpi_pm;
pub mod bus;
pub mod console;
pub mod counters;
pub mod cpu_hotplug;
pub mod debug_port;
pub mod event;
pub mod ged;
pub mod i8042;
pub mod interrupt;
pub mod memory;
pub mod pci;
pub mod power;
pub mod pvpanic;
pub mod rtc;
pub mod saved;
pub mod serial;
mod sync;
pub mod virtio;
pub mod watchdog;

pub use bus::{AddressRange, Bus, BusDevice, BusError, Mmio, Pio};
pub use counters::CounterSource;
pub use interrupt::Interrupt;
pub use power::{PowerRequest, PowerSink};
pub use pvpanic::{GuestPanic, PanicSink};
pub use saved::Unfit;
