//! What can go wrong between two ends.

use std::io;

use super::{MAX_PAYLOAD, PROTOCOL_VERSION, Reason};

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer closed it, or somebody interrupted it here.
    #[error("the connection was closed while waiting for {waiting_for}")]
    Closed {
        /// What should have come or gone.
        waiting_for: &'static str,
    },
    /// The deadline passed.
    #[error("nothing was heard in time while waiting for {waiting_for}")]
    TimedOut {
        /// What should have come or gone.
        waiting_for: &'static str,
    },
    /// What came is no frame of this protocol.
    #[error("the peer does not speak this protocol: {what}")]
    NotAFrame {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A frame says that it is longer than may be.
    #[error("a frame of {bytes} bytes; at most {MAX_PAYLOAD} are allowed")]
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// A frame was damaged on its way.
    #[error("a frame was damaged on its way: its checksum is wrong")]
    Checksum,
    /// A frame's contents make no sense.
    #[error("the peer sent {what}")]
    Malformed {
        /// What it sent.
        what: String,
    },
    /// A frame that may not come now.
    #[error("the peer sent {found} where {expected} should come")]
    Unexpected {
        /// What came.
        found: String,
        /// What should have.
        expected: &'static str,
    },
    /// The peer speaks other versions only.
    #[error(
        "the peer speaks versions {min} to {max} of the protocol; this is version {PROTOCOL_VERSION}"
    )]
    Version {
        /// The oldest that it speaks.
        min: u16,
        /// The newest that it speaks.
        max: u16,
    },
    /// The peer gave up, and said why.
    #[error("the other end gave up: {reason}")]
    Peer {
        /// What it said.
        reason: Reason,
    },
}
