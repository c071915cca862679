//! Memory that comes and goes (virtio-mem; virtio 1.2, section 5.15).
//!
//! ```text
//!   control plane ── set_requested ──▶ requested_size ─┐ (then it announces the change)
//!                                                      ├──▶ configuration ──▶ driver
//!                                   plugged_size ──────┘
//!                                        ▲
//!   guest-request queue: PLUG, UNPLUG, … ┴─▶ blocks, a bit each ─▶ MemHost::plug, MemHost::unplug ─▶ host
//! ```
//!
//! The device has a region of the guest's address space, in blocks of [`BLOCK_SIZE`]. The host says how much of it is to be plugged; the
//! driver plugs and unplugs blocks of its choice until there is as much. Which are plugged belongs to the machine and not to a driver: it
//! stays over resets of the device, and a machine that starts anew ([`MemDevice::start`]) has none.
//!
//! ```text
//!              PLUG, as much as is asked for
//!   unplugged ───────────────────────────────▶ plugged        a block that gets plugged reads as zeros
//!       ▲          UNPLUG, UNPLUG_ALL             │           a block that gets unplugged costs the host nothing
//!       └─────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - never more is plugged by a request than the host asks for at that time;
//! - a request is answered ACK when all of it was done, and otherwise nothing of it counts as done;
//! - `plugged_size` is what the blocks add up to before the driver sees the answer;
//! - a call works on a bounded number of blocks. A request that a pause meets half way is begun again after it: plugging and unplugging
//!   twice is doing it once, because no driver may use these blocks meanwhile.
//!
//! A request that makes no sense (unknown, misaligned, outside of the region, blocks in another state) is answered ERROR; one that is
//! not even a request (too short, no room for the answer) breaks the ring's rules, and the device asks to be reset.

mod blocks;
mod counters;
mod device;
mod request;
#[cfg(test)]
mod tests;
mod worker;

use std::io;

use vm_memory::GuestAddress;

pub use device::{MemDevice, MemError, MemOptions};

/// Bytes of a block: a page of the second level, so that a block can be one on the host, too.
pub const BLOCK_SIZE: u64 = 2 << 20;

/// The memory behind the blocks. What it does is for the VMM, which knows how guest RAM is backed.
pub trait MemHost: Send + Sync {
    /// Makes blocks usable, reading as zeros. Called by the device's worker, for blocks that are not plugged.
    ///
    /// # Errors
    /// The host has no memory for them; they are to be unplugged.
    fn plug(&self, gpa: GuestAddress, len: u64) -> io::Result<()>;

    /// Takes blocks back; they cost the host nothing until they are touched. Called by the device's worker, also for blocks that are
    /// unplugged already.
    ///
    /// # Errors
    /// The host did not take them.
    fn unplug(&self, gpa: GuestAddress, len: u64) -> io::Result<()>;
}
