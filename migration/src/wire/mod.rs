//! What goes over the connections of a migration.
//!
//! ```text
//!   frame = "SM" | kind u8 | encoding u8 | length u32 | CRC32C u32 | payload        (little-endian)
//!
//!   connection 0:   Hello ▶ ◀ Welcome   Describe ▶ ◀ Built   [ pages, Mark, RoundEnd ▶ ◀ RoundDone ] …
//!                   State ▶, state frames ▶, Prepare ▶ ◀ Ready   Commit ▶ ◀ Committed
//!   the others:     Join ▶   [ pages, Mark ▶ ] …
//!
//!   post-copy:      State ▶, state frames ▶, Missing ▶ …, Prepare ▶ ◀ Ready   Commit ▶ ◀ Committed   ◀ Arrived
//!   meanwhile:      ◀ Need, Beat …       (the second connection)       pages, Beat …, Mark ▶       (those behind it)
//! ```
//!
//! Instead of any answer the destination may send `Refused` with a reason, instead of anything before `Commit` the source
//! may send `Abort` with one; both close everything then.
//!
//! On one host memory may be taken over instead, and the open files of disks with it: `Adopt ▶` with descriptors before `Describe`, and no rounds.
//!
//! **Rounds.** Pages carry the number of their round, and a connection's `Mark` ends its part of one. The destination
//! answers `RoundDone` when it has the marks of all connections, the source sends a page of the next round only after
//! that, and the destination refuses one that comes before. So, in whatever order connections deliver, no page takes the
//! place of a newer one. In the first round pages of zeros are not sent at all: the destination's memory begins as zeros.
//!
//! Invariants:
//! - Every length is bounded before anything is allocated; a connection holds one frame of each direction.
//! - Every wait has a deadline, for the whole frame and not for each byte.
//! - What is not a frame, or no frame that may come now, is an error and never a panic; the peer is told, if it still
//!   listens.

mod codec;
mod connection;
mod error;
mod frame;
mod message;
mod passing;
mod rights;
#[cfg(test)]
mod tests;
mod transport;

pub use codec::Compression;
pub(crate) use codec::Unpacker;
pub use connection::{Connection, PageWriter};
pub(crate) use connection::{unexpected, unexpected_message};
pub use error::WireError;
pub use frame::{Frame, MAX_PAYLOAD, Mark, Pages};
pub use message::{Capabilities, Message, Phase, Reason, Rehearsal, Session};
pub use passing::{DiskFile, Part, Passed};
pub use rights::MAX_PASSED;
pub use transport::{Interrupter, Transport};

/// The version of the protocol.
pub const PROTOCOL_VERSION: u16 = 1;
/// The most connections of a migration.
pub const MAX_CONNECTIONS: u16 = 64;
/// The most pages of a frame.
pub const MAX_PAGES: u64 = 256;
/// The longest state, in bytes.
pub const MAX_STATE: u64 = 1 << 30;
