//! The host's side of a network card, for real a tap.

use std::io;
use std::os::fd::OwnedFd;

use super::offloads::Offloads;

/// The host's side of a network card. Its settings are changed by one thread at a time: the activator's, or
/// that of the control queue.
pub trait Backend: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> &str;

    /// A descriptor for each queue pair, all alike and none of them blocking. A read takes one packet, a write gives one; before
    /// each there is a `struct virtio_net_hdr_v1` of 12 bytes, little-endian (virtio 1.2, 5.1.6).
    fn queues(&self) -> &[OwnedFd];

    /// What it can do with the guest's packets, and may do with those for the guest.
    fn offloads(&self) -> Offloads;

    /// What packets for the guest may use from now on.
    ///
    /// # Errors
    /// The host refuses it.
    fn set_offloads(&self, offloads: Offloads) -> io::Result<()>;

    /// Packets for the guest come by the first `pairs` queues only. A read from another one fails with EBADFD.
    ///
    /// # Errors
    /// The host refuses it; some queues may have been changed.
    fn set_active(&self, pairs: u16) -> io::Result<()>;
}
