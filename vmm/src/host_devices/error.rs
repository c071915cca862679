//! Why the host's end of a device could not be opened.

use devices::virtio::balloon::BalloonError;
use devices::virtio::block::BlockError;
use devices::virtio::mem::MemError;
use devices::virtio::net::NetError;
use devices::virtio::rng::RngError;
use devices::virtio::vsock::VsockError;

/// A device's host side could not be opened. None of it is left open.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeviceError {
    /// A disk's image.
    #[error("disk {id}: {source}")]
    Disk {
        /// The disk.
        id: String,
        /// Why.
        source: BlockError,
    },
    /// A disk of a VM whose disks were passed was not.
    #[error("disk {id}: it was not passed")]
    NotPassed {
        /// The disk.
        id: String,
    },
    /// A network card's tap.
    #[error("network device {id}: {source}")]
    Net {
        /// The card.
        id: String,
        /// Why.
        source: NetError,
    },
    /// The source of entropy.
    #[error("rng: {0}")]
    Rng(#[from] RngError),
    /// The socket of a socket device.
    #[error("vsock {id}: {source}")]
    Vsock {
        /// The device.
        id: String,
        /// Why.
        source: VsockError,
    },
    /// The balloon's size.
    #[error("balloon: {0}")]
    Balloon(#[from] BalloonError),
    /// The memory that is plugged later.
    #[error("memory: {0}")]
    Memory(#[from] MemError),
    /// The console's events.
    #[error("console: {0}")]
    Console(std::io::Error),
    /// An open tap that was named by its number.
    #[error("network device {id}: {source}")]
    Descriptor {
        /// The card.
        id: String,
        /// Why it cannot be used.
        source: std::io::Error,
    },
    /// An address of the host's side that taps cannot be given.
    #[error(
        "network device {id}: {ip} is no IPv4 address, with its mask; set other addresses by ip(8)"
    )]
    Address {
        /// The card.
        id: String,
        /// The address.
        ip: std::net::IpAddr,
    },
    /// A device of the configuration has no id: it was not checked.
    #[error("a device of the configuration has no id")]
    NoId,
}
