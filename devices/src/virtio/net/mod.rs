//! A virtio network card on a tap (virtio 1.2, section 5.1).
//!
//! ```text
//!   vCPU ──▶ Net (MAC, status, MTU: constants and one atomic)
//!
//!   receiveq i ◀── readv ──┐                              ┌── queue i of the tap ◀──▶ host's network
//!                          PairWorker i ── Backend ───────┤
//!   transmitq i ── writev ─┘      ▲ Event: pairs changed  └── queue 0, for packets of a pair that is off
//!   controlq ──▶ ControlWorker ───┘
//! ```
//!
//! A packet is one system call: it goes straight from the guest's buffers to the tap and back, with the header of
//! `struct virtio_net_hdr` that both sides speak. Nothing is copied, and no packet takes heap.
//!
//! Invariants:
//! - A worker never spins: it listens to the tap for packets only while it has a buffer to put one in, for room only while
//!   a packet waits, and not at all for a queue that is off or a tap that has gone, or while it is throttled.
//! - Nothing is in flight between two calls of a worker: a packet that was taken off the tap is in the guest's ring, and one that
//!   the tap had no room for is still in the ring. The one exception is a packet that has come and for which the
//!   ring has too few buffers at the moment: it waits in the worker, and is copied.
//! - What is dropped is counted: packets that do not fit the guest's buffer, and those that the host refuses.

mod backend;
mod buffers;
mod control;
mod counters;
mod device;
mod error;
mod features;
mod ioctl;
mod limit;
mod mac;
mod offloads;
mod options;
mod pair;
mod receive;
mod shared;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;
mod vectors;

pub use backend::Backend;
pub use device::Net;
pub use error::NetError;
pub use mac::{MacAddress, MacError};
pub use offloads::Offloads;
pub use options::{HostAddress, NetOptions};
