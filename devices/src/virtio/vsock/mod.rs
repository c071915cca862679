//! Socket device (virtio 1.2, 5.10) that ends in Unix sockets of the host.
//!
//! ```text
//!   guest ──tx──▶ ┌────────┐ ──connect──▶ <path>_<port>    for each connection of the guest to the host's <port>
//!                 │ worker │
//!   guest ◀──rx── └────────┘ ◀──accept─── <path>           `CONNECT <port>\n`, answered by `OK <host port>\n`
//! ```
//!
//! The protocol of the sockets is the one of Firecracker and Cloud Hypervisor. One thread serves all connections.
//!
//! Invariants:
//! - What is held is bounded: connections (`table`), bytes of each (`connection`), answers to packets that belong to
//!   none (`worker`). Beyond that the guest's packets stay in its ring, the host's bytes and clients in their sockets.
//! - A pause leaves connections as they are. A reset of the device ends them all; the listening socket stays.
//! - A restored guest is told, by an event, that all its connections are gone (`events`): the sockets stayed behind.

mod connection;
mod credit;
mod events;
mod greeting;
mod guest;
mod host;
mod packet;
mod table;
#[cfg(test)]
mod tests;
mod to_host;
mod worker;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::saved::{SavedDevice, SavedVsock};
use super::{Activation, ActivationError, DeviceType, VirtioDevice, Worker};
use crate::console::{ConsoleError, Listener};
use crate::counters::CounterSource;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU64, Ordering};
use worker::VsockWorker;

/// `rx` (5.10.2): to the guest.
const RECEIVE_QUEUE: u16 = 0;
/// `tx`: from the guest.
const TRANSMIT_QUEUE: u16 = 1;
/// `event`: that connections are gone, after a restore.
const EVENT_QUEUE: u16 = 2;

/// VIRTIO_VSOCK_F_STREAM (5.10.3).
const F_STREAM: u64 = 1 << 0;

/// The longest path that a Unix socket can have (`sockaddr_un`), without its end.
const LONGEST_PATH: usize = 107;
/// What is put behind the path for ports: `_4294967295`.
const LONGEST_SUFFIX: usize = 11;

/// Why a socket device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// Ids below 3 and the highest have other meanings (5.10.4).
    #[error("{0} is no context id for a guest: it is one from 3 to 4294967294")]
    Cid(u32),
    /// With the suffix of a port, no socket can have that name.
    #[error(
        "the socket path {path} has {len} bytes; with the suffix of a port it must have at most {LONGEST_PATH}, so {limit} for itself",
        path = path.display(), len = path.as_os_str().len(), limit = LONGEST_PATH - LONGEST_SUFFIX
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The host's socket could not be made.
    #[error(transparent)]
    Socket(#[from] ConsoleError),
}

/// A socket device.
pub struct Vsock {
    id: String,
    guest_cid: u32,
    listener: Arc<Listener>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Connections that were agreed upon, by either side.
    connections: AtomicU64,
    /// Connections that the guest asked for and the host did not take.
    refused: AtomicU64,
    /// Bytes of payload taken from the guest.
    from_guest: AtomicU64,
    /// Bytes of payload given to the guest.
    to_guest: AtomicU64,
    /// Packets of the guest that belonged to no connection, or were of an unknown kind.
    stray: AtomicU64,
    /// Connections that were broken off because the guest broke their rules.
    violations: AtomicU64,
    /// Clients of the host that asked for nothing that could be given.
    bad_greetings: AtomicU64,
}

/// Adds to a statistic; relaxed, because nothing is published by it.
fn count(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Vsock {
    /// A device for the guest with this context id, at this path on the host, where it listens from now on.
    ///
    /// # Errors
    /// The id or the path is none, or is taken.
    pub fn bind(id: &str, guest_cid: u32, path: &Path) -> Result<Self, VsockError> {
        if !(3..u32::MAX).contains(&guest_cid) {
            return Err(VsockError::Cid(guest_cid));
        }
        if path.as_os_str().as_bytes().len() > LONGEST_PATH - LONGEST_SUFFIX {
            return Err(VsockError::PathTooLong { path: path.to_owned() });
        }
        let listener = Arc::new(Listener::bind(path)?);
        Ok(Self { id: id.to_owned(), guest_cid, listener, counts: Arc::default() })
    }

    /// Where the host's clients connect to.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.listener.path()
    }
}

impl VirtioDevice for Vsock {
    fn name(&self) -> &str {
        &self.id
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Vsock
    }

    fn features(&self) -> u64 {
        F_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &[256, 256, 64]
    }

    /// `struct virtio_vsock_config` (5.10.4): the guest's context id.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = u64::from(self.guest_cid).to_le_bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, byte) in data.iter_mut().enumerate() {
            *byte = config.get(from.saturating_add(place)).copied().unwrap_or_default();
        }
    }

    fn activate(
        &self,
        mut activation: Activation,
    ) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        Ok(vec![Box::new(self.worker(&mut activation)?)])
    }

    fn save(&self) -> SavedDevice {
        SavedDevice::Vsock(SavedVsock { guest_cid: self.guest_cid })
    }

    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        let SavedDevice::Vsock(saved) = saved else { return Err(saved.of_another()) };
        Unfit::unless_same("the guest's context id", &saved.guest_cid, &self.guest_cid)
    }
}

impl Vsock {
    fn worker(&self, activation: &mut Activation) -> Result<VsockWorker, ActivationError> {
        let mut take =
            |index| activation.take_queue(index).ok_or(ActivationError::MissingQueue(index));
        let queues = (take(RECEIVE_QUEUE)?, take(TRANSMIT_QUEUE)?, take(EVENT_QUEUE).ok());
        let listener = Arc::clone(&self.listener);
        let (cid, counts) = (self.guest_cid.into(), Arc::clone(&self.counts));
        Ok(VsockWorker::new(queues, cid, listener, counts).telling(activation.origin))
    }
}

impl CounterSource for Vsock {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        [
            ("connections", &counts.connections),
            ("refused", &counts.refused),
            ("bytes_from_guest", &counts.from_guest),
            ("bytes_to_guest", &counts.to_guest),
            ("stray_packets", &counts.stray),
            ("violations", &counts.violations),
            ("bad_greetings", &counts.bad_greetings),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
        .to_vec()
    }
}
