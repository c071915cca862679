//! Why there is no network card.

use std::io;

use super::mac::MacAddress;
use super::options::NetOptions;

/// Why a network card could not be made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The number of queues is none that a card can have.
    #[error("a network card has an even number of queues from 2 to {most}, not {0}", most = NetOptions::MOST_QUEUES)]
    Queues(u16),
    /// The size is none that its queues can have.
    #[error("a queue's size is a power of two up to {most}, not {0}", most = NetOptions::LARGEST_QUEUE)]
    QueueSize(u16),
    /// The MTU is too small.
    #[error("an MTU of {0} is too small; the least is {least}", least = NetOptions::LEAST_MTU)]
    Mtu(u16),
    /// An address that no single station can have.
    #[error("{0} is not the address of a single station")]
    Group(MacAddress),
    /// As many descriptors as queue pairs are needed.
    #[error("{fds} descriptors of a tap were given for {pairs} queue pairs")]
    Descriptors {
        /// How many there are.
        fds: usize,
        /// How many are needed.
        pairs: u16,
    },
    /// A tap is given by name or by descriptors.
    #[error("a tap is given by its name or by open descriptors, not by both")]
    TapAndDescriptors,
    /// The name is none that an interface can have.
    #[error("{0:?} cannot be an interface's name: 1 to 15 bytes without \"/\", \":\" and spaces")]
    Name(String),
    /// The host's tap driver is not to be had.
    #[error("cannot open /dev/net/tun: {0}")]
    NoDriver(#[source] io::Error),
    /// Privileges are missing.
    #[error(
        "not allowed to make or open the tap {tap}: that needs CAP_NET_ADMIN, or a persistent tap that belongs to this user"
    )]
    NotPermitted {
        /// The tap.
        tap: String,
    },
    /// Somebody else has it open.
    #[error("the tap {tap} is in use by another process")]
    InUse {
        /// The tap.
        tap: String,
    },
    /// The interface exists and is no tap, or cannot have several queues.
    #[error(
        "the interface {tap} exists and is no tap, or is one that was made without multi_queue and can have one queue pair only"
    )]
    Unsuitable {
        /// The interface.
        tap: String,
    },
    /// A descriptor that was handed in is no tap, or one without headers.
    #[error("descriptor {place} is no tap that was opened with IFF_VNET_HDR: {source}")]
    NoTap {
        /// Which one of those that were given, from 0.
        place: usize,
        /// Why not.
        source: io::Error,
    },
    /// Something about the interface could not be set.
    #[error("cannot {what} of the tap {tap}: {source}")]
    Configure {
        /// What was tried.
        what: &'static str,
        /// The tap.
        tap: String,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no randomness for an address, or no event.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
