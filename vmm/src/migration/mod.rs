//! A VM as a whole: saved into a snapshot, restored from one, sent to another VMM, received from one.
//!
//! ```text
//!   request ─▶ worker ──Begin──▶ owner: nothing else of this kind is under way ──▶ handles: still point, memory, disks
//!                 │ copies, as long as it takes; the owner goes on serving requests and the guest
//!                 ├─Save(Still)──▶ owner: state and configuration, while the worker holds the VM
//!                 └─Ended──▶ owner: the VM is as it was, or is gone, or is in doubt
//! ```
//!
//! The worker is a thread that a request starts and waits for. It has handles, never the VM: activations, resets, requests and
//! the end of the VM go on meanwhile ([`crate::control`] says which of them end the transfer, which wait for it and which are refused).
//!
//! Invariants:
//! - Whatever becomes of a transfer, its owner hears of it, also if the worker panics (`Guard`).
//! - The worker's hold of the VM is one of several: what the operator's pause holds stays held.
//! - One compare-and-swap decides between an end that was asked for and the point of no return (`Transfer`).

mod adopted;
mod aside;
mod destination;
mod differ;
mod disks;
mod guard;
mod inspect;
mod link;
mod listener;
mod memory;
mod postcopy;
mod progress;
mod receive;
mod restore;
mod send;
mod snapshot;
mod source;
mod transfer;

pub use destination::RestoreError;
pub(crate) use disks::Disks;
pub use inspect::{SnapshotInfo, inspect};
pub use link::LinkError;
pub use progress::{DowntimeInfo, TransferInfo, TransferKind, TransferState};
pub(crate) use receive::receive;
pub(crate) use restore::restore;
pub(crate) use send::send;
pub(crate) use snapshot::snapshot;
pub(crate) use transfer::Transfer;

use std::io;

use vcpu_state::sync::Arc;

use crate::control::{Begun, ControlError, Line};
use guard::Guard;

/// How long a frame of a migration may take to come or go, the other end's work in between counted.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);
/// Stack of a worker.
const STACK: usize = 1 << 20;

/// Does long work on a thread of its own, and waits for it. One that serves requests is scheduled for short work, and
/// has a small stack.
pub(crate) fn on_worker<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T, ControlError> + Send,
) -> Result<T, ControlError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work).map_err(|error: io::Error| {
            ControlError::Failed(format!("cannot start a thread: {error}"))
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Begins a transfer of the VM that there is; the guard ends it.
fn begin(line: &Line, transfer: &Arc<Transfer>) -> Result<(Guard, Begun), ControlError> {
    let begun = line.begin(transfer)?;
    Ok((Guard::new(line, transfer), begun))
}
