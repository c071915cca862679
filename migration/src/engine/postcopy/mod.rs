//! Post-copy: the VM is handed over before all of its memory is there.
//!
//! ```text
//!   source                                                          destination
//!   rounds as in pre-copy, as many as were asked for ──────────────▶ puts pages into their places
//!   pauses the VM; state, Missing …, Prepare ──────────────────────▶ makes the missing pages missing, restores the state, makes ready
//!   gives up the disks, Commit ────────────────────────────────────▶ takes the disks, starts
//!   keeps its VM still, and its memory ◀──────────────────────────── Committed
//!     requests  ◀──── Need page, whenever something of the VM touches a page that is missing
//!     urgent    ────▶ that page, and a few behind it
//!     others    ────▶ all others, in their order
//!   ends its VM ◀─────────────────────────────────────────────────── Arrived
//! ```
//!
//! Pages go from `Prepare` on, because restoring touches memory, too. The connections of the migration after the first get these three parts in
//! this order; so there have to be at least [`CONNECTIONS`]. One that has nothing to carry carries a `Beat` now and then, so that a silent one is a dead one.
//!
//! After the commit neither VM can do without the other end's process: the source's has stood still since, and disks and the network know what the
//! destination's has done; the destination's lacks pages that nobody else has. When the link breaks then, the VM at the destination ends by an error that
//! says so (`Interrupted`), and the source's stays where it is (`Stranded`), never to run again. It is the price of post-copy.
//!
//! Invariants:
//! - A page is sent once, taken once, and only where it is missing: whoever sends one that was not listed, or one twice, or one that does not exist, ends the
//!   migration.
//! - A page is in its place before it counts as there; a missing page is never zeros for anybody who may act on it ([`LazyMemory`]).
//! - The source's VM ends only when the destination needs nothing more.

mod destination;
mod filling;
mod memory;
mod pages;
mod pushing;
mod source;

use std::time::Duration;

pub use memory::{Fault, LazyMemory};

/// The fewest connections of a migration that may end in post-copy: messages, requests, urgent pages, other pages.
pub const CONNECTIONS: usize = 4;
/// The round that pages belong to that are sent after all rounds.
pub const POSTPONED: u32 = u32::MAX;

/// When memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryMode {
    /// Before the VM does.
    #[default]
    PreCopy,
    /// Before it, for so many rounds; then after it, unless so little is left by then that there is no need.
    PostCopy {
        /// How many; none is as well.
        rounds: u32,
    },
}

/// How often a connection says that it is alive.
fn beat(patience: Duration) -> Duration {
    patience / 4
}
