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

mod chain;
pub mod console;
mod device;
mod interrupt;
mod malformed;
mod queue;
#[cfg(test)]
mod queue_tests;
pub mod rng;
mod sources;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vsock;
mod worker;

pub use chain::{Chain, Segment};
pub use device::{Activation, ActivationError, DeviceType, Features, VirtioDevice};
pub use interrupt::VirtioInterrupt;
pub use malformed::Malformed;
pub use queue::{QueueParts, Virtqueue};
pub use sources::{Interest, Sources};
pub use worker::{Listening, Progress, Token, Wakeup, Worker, WorkerError};
