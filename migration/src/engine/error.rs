//! Why a migration ended without the VM at the other end.

use std::time::Duration;

use super::phase::{DestinationEvent, DestinationPhase, Illegal, SourceEvent, SourcePhase};
use crate::memory::InvalidLayout;
use crate::wire::WireError;

/// What a VM says that did not do what it was asked to.
pub type VmError = Box<dyn std::error::Error + Send + Sync>;

/// Why a migration failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The other end, or the way there.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The VM at this end.
    #[error("cannot {action}: {source}")]
    Vm {
        /// What it was asked to.
        action: &'static str,
        /// What it says.
        source: VmError,
    },
    /// The operator cancelled it.
    #[error("the migration was cancelled")]
    Cancelled,
    /// It did not converge in time.
    #[error("after {timeout:?} the expected downtime is {expected:?}; {limit:?} are allowed")]
    TimedOut {
        /// How long it was tried.
        timeout: Duration,
        /// What the downtime would have been.
        expected: Duration,
        /// What it may be.
        limit: Duration,
    },
    /// The source's memory cannot be.
    #[error("the source's memory: {0}")]
    Layout(#[from] InvalidLayout),
    /// The VM that was built has another layout.
    #[error("the memory of the VM that was built lies elsewhere than the source's")]
    OtherLayout,
    /// The destination cannot take memory over.
    #[error("the destination cannot take over a VM's memory; migrate without local")]
    NotLocal,
    /// More files than can be passed.
    #[error("its memory and disks are {0} files, of which at most {max} can be passed; migrate without local", max = crate::wire::MAX_PASSED)]
    TooManyFiles(usize),
    /// What was passed is not what a VM consists of.
    #[error("what was passed: {0}")]
    Adoption(#[from] super::AdoptionError),
    /// Connections that cannot be.
    #[error("{0} connections; there must be 1 to 64")]
    Connections(usize),
    /// Too few of them for post-copy.
    #[error("{} connections; post-copy needs at least {}", .0, super::postcopy::CONNECTIONS)]
    FewConnections(usize),
    /// The other end's host cannot run a VM whose memory is still to come.
    #[error("the other end cannot take a VM whose memory comes after it (post-copy)")]
    NoPostCopy,
    /// Before the VM was let go, it was known that missing memory cannot come.
    #[error("memory that was to come later cannot be had: {why}")]
    MissingLost {
        /// Why.
        why: String,
    },
    /// The VM was let go, and then memory that was missing could not be had: it has ended.
    #[error(
        "post-copy was interrupted: {missing} pages of the VM's memory were still missing ({why}), and without them it cannot run"
    )]
    Interrupted {
        /// Pages that are missing.
        missing: u64,
        /// Why they do not come.
        why: String,
    },
    /// The engine contradicts itself.
    #[error(transparent)]
    Source(#[from] Illegal<SourcePhase, SourceEvent>),
    /// The engine contradicts itself.
    #[error(transparent)]
    Destination(#[from] Illegal<DestinationPhase, DestinationEvent>),
}

impl MigrationError {
    /// For `map_err`.
    pub(super) fn vm(action: &'static str) -> impl FnOnce(VmError) -> Self {
        move |source| Self::Vm { action, source }
    }
}
