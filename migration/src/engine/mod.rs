//! Live migration by iterative pre-copy.
//!
//! ```text
//!   source                                                     destination
//!   Hello, Describe ─────────────────────────────────────────▶ builds its VM, all zeros, nothing runs
//!   all pages, then those written meanwhile, again and again ─▶ puts them into their places
//!     until what is left takes no longer than the downtime that is allowed
//!   pauses the VM; last pages, state, Prepare ───────────────▶ restores it, makes ready
//!   gives up the disks, Commit ──────────────────────────────▶ takes the disks, starts
//!   ends its VM ◀──────────────────────────────────────────── Committed
//! ```
//!
//! On one host memory can be taken over instead of being copied, with the open files of disks ([`send_local`]).
//!
//! The phases of both ends, and what may happen in each, are in [`phase`], the last step of all kinds in `commit`. VMs come in through [`SourceVm`] and
//! [`DestinationVm`].
//!
//! Invariants:
//! - Never both VMs run: the destination starts only with a `Commit` that arrived whole, and the source sends one only
//!   with its VM standing still, which goes on only when the destination said that it has not started, and will not.
//! - The last pages are read after the last writer has stopped: that takes a [`SourceVm::Still`].
//! - What the VM was (running or paused) it is at the end, wherever that is: a failure lets go of the migration's own
//!   hold and of nothing else.
//! - The disks have one owner: the source gives them up when the destination is ready, the destination takes them
//!   before it starts and gives them up before it refuses, and a source that keeps its VM takes them back before it runs.
//! - Memory may be allowed to go after the VM ([`postcopy`]): then the source's VM stands still until the destination has all of it.
//! - An operator's cancel and the commit exclude each other by one compare-and-swap ([`Handle`]).

mod adoption;
mod commit;
mod copy;
mod error;
mod estimate;
mod gate;
mod hand_over;
mod handle;
mod lanes;
mod local;
pub mod phase;
pub mod postcopy;
mod receive;
mod retreat;
mod rounds;
mod send;
mod vm;

use std::time::{Duration, Instant};

pub use adoption::{AdoptedDisks, Adoption, AdoptionError, DiskFiles, Extent};
pub use error::{MigrationError, VmError};
pub use gate::{Gate, TooLate};
pub use handle::{Handle, Progress};
pub use local::send_local;
pub use receive::receive;
pub use send::{Sent, send};
pub use vm::{DestinationVm, SourceVm};

use crate::wire::Compression;

/// What the source does when the guest writes faster than the downtime that is allowed has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// At the time-out the migration ends and the VM goes on at the source.
    Cancel,
    /// At the time-out the VM is stopped however long that will take.
    Ignore,
    /// The guest is throttled in steps, by its measured dirty rate; at the time-out as `Cancel`.
    Throttle,
}

/// How to migrate.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long the VM may stand still.
    pub downtime: Duration,
    /// How long to go on copying before the strategy decides.
    pub timeout: Duration,
    /// What happens then.
    pub strategy: Strategy,
    /// Whether memory may go after the VM.
    pub memory: postcopy::MemoryMode,
    /// How pages are sent, if the destination can take them so.
    pub compression: Compression,
    /// How long any frame may take to go or come, the destination's work in between counted.
    pub patience: Duration,
}

/// What the time was spent for while the VM stood still, as the source saw it.
#[derive(Debug, Clone, Copy)]
pub struct Downtime {
    began: Instant,
    lap: Instant,
    /// From the request to standing still.
    pub pause: Duration,
    /// The last pages, the saving of the state meanwhile.
    pub pages: Duration,
    /// The state, and the destination's making ready.
    pub state: Duration,
    /// Of it, the destination's work.
    pub setup: Duration,
    /// The disks, the commit, and the destination's start.
    pub commit: Duration,
}

impl Downtime {
    fn begun(began: Instant) -> Self {
        let zero = Duration::ZERO;
        let lap = Instant::now();
        Self { began, lap, pause: zero, pages: zero, state: zero, setup: zero, commit: zero }
    }

    /// The time since the last call.
    fn lap(&mut self) -> Duration {
        let last = std::mem::replace(&mut self.lap, Instant::now());
        self.lap.saturating_duration_since(last)
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.lap.saturating_duration_since(self.began)
    }
}

/// What a migration came to.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Rounds, the last one among them.
    pub rounds: u32,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// The length of the state, in bytes.
    pub state_bytes: u64,
    /// Pages that went after the VM (post-copy).
    pub postponed_pages: u64,
    /// How long all of it took.
    pub total: Duration,
    /// How long the VM stood still.
    pub downtime: Downtime,
}
