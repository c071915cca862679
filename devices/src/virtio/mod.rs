//! Virtio devices (Virtual I/O Device Version 1.2): what they have in common.
//!
//! ```text
//!   vCPU ──registers──▶ transport ──DRIVER_OK──▶ activator ──activate──▶ VirtioDevice ──▶ Worker, Worker, …
//!    │                                                                                      ▲      │
//!    └──doorbell (eventfd, mostly without an exit)──────────────────────────────────────────┘      │
//!   driver ◀──interrupt── Virtqueue::flush ◀───────────────────────────────────────────────────────┘
//! ```
//!
//! A [`VirtioDevice`] is a register block; a [`Worker`] owns queues and the host's side, on a thread that the lifecycle groups
//! govern. No register waits for a worker: what the driver must see completed is a ticket.

mod activator;
pub mod balloon;
pub mod block;
mod chain;
pub mod console;
mod counts;
mod device;
mod interrupt;
pub mod lifecycle;
#[cfg(test)]
mod lifecycle_tests;
pub mod limit;
mod malformed;
pub mod mem;
pub mod net;
mod queue;
mod queue_registers;
mod queue_reset;
mod queue_state;
#[cfg(test)]
mod queue_tests;
mod registers;
#[cfg(test)]
mod restore_tests;
pub mod rng;
mod run_loop;
pub mod saved;
mod sources;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transport;
pub mod vsock;
mod worker;

pub use activator::{Activator, ActivatorEnd, ActivatorThread, WorkerNames};
pub use chain::{Chain, Segment};
pub use counts::{Count, Counts};
pub use device::{Activation, ActivationError, DeviceType, Features, Origin, VirtioDevice};
pub use interrupt::VirtioInterrupt;
pub use malformed::Malformed;
pub use queue::{QueueParts, Used, Virtqueue};
pub use queue_registers::{Area, Half, QueueFault, QueueRegisters, SavedQueue};
pub use queue_state::QueueState;
pub use registers::{RegisterParts, Registers, SavedRegisters};
pub use sources::{Interest, Sources};
pub use transport::{SavedVirtioPci, VirtioPci, VirtioPciError};
pub use worker::{Listening, Progress, Token, Wakeup, Worker, WorkerError};
