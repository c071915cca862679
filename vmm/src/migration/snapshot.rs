//! Taking a snapshot.
//!
//! ```text
//!   Begin ─▶ hold ─▶ Save ─▶ all pages, or those that differ from the base ─▶ let go ─▶ sync, rename
//! ```
//!
//! The VM stands still while its memory is copied, and is as it was afterwards, whatever comes of the snapshot. What makes the copy last on the disk is
//! not waited for with the VM held. Disks are not part of a snapshot: it is of use with the images as they were when it was taken.

use std::path::{Path, PathBuf};

use migration::memory::{PageSet, SourceMemory};
use migration::snapshot::{Base, HostStorage, Snapshot, SnapshotError, SnapshotId, SnapshotWriter};
use vcpu_state::sync::Arc;

use super::memory::Watched;
use super::progress::{TransferKind, TransferState};
use super::transfer::Result as Outcome;
use super::{Transfer, differ};
use crate::config::{SnapshotConfig, file_url};
use crate::control::{Begun, ControlError, Line};
use crate::memory::MigrationMemory;
use crate::vm::PAUSE_DEADLINE;

/// Where to.
struct Target {
    directory: PathBuf,
    base: Option<PathBuf>,
}

/// Takes a snapshot of the VM.
pub(crate) fn snapshot(line: &Line, config: &SnapshotConfig) -> Result<(), ControlError> {
    let base = config.base_url.as_deref().map(|url| file_url("base_url", url)).transpose()?;
    let target = Target { directory: file_url("destination_url", &config.destination_url)?, base };
    let transfer = Transfer::new(TransferKind::Snapshot, target.directory.display().to_string());
    let transfer = Arc::new(transfer.map_err(|error| ControlError::Failed(error.to_string()))?);
    let (guard, begun) = super::begin(line, &transfer)?;
    let taken = take(line, &transfer, &begun, &target);
    drop(guard);
    settle(&transfer, taken)
}

/// Writes down what a transfer came to.
pub(super) fn settle<T>(
    transfer: &Transfer,
    result: Result<T, ControlError>,
) -> Result<T, ControlError> {
    match (result, transfer.why_ended()) {
        (Ok(done), _) => {
            transfer.settle(Outcome::Completed(None));
            Ok(done)
        }
        // Whatever went wrong then went wrong because of that.
        (Err(_), Some(why)) => {
            transfer.settle(Outcome::Cancelled(why.to_owned()));
            Err(ControlError::Cancelled(why.to_owned()))
        }
        (Err(error), None) => {
            transfer.settle(Outcome::Failed(error.to_string()));
            Err(error)
        }
    }
}

fn take(
    line: &Line,
    transfer: &Arc<Transfer>,
    begun: &Begun,
    target: &Target,
) -> Result<(), ControlError> {
    let storage = HostStorage;
    let base = target.base.as_deref().map(|path| Snapshot::open(&storage, path)).transpose()?;
    let memory = begun.memory.pages().map_err(|error| ControlError::Failed(error.to_string()))?;
    let memory = Watched { memory, transfer: Arc::clone(transfer) };
    transfer.set_memory(memory.layout().bytes());
    let still = begun.stillness.reach(PAUSE_DEADLINE);
    let still = Arc::new(still.map_err(|error| ControlError::Failed(error.to_string()))?);
    transfer.reach(TransferState::Copying);
    let saved = line.save(begun.vm, &still)?;
    let mut writer = writer(&storage, target, &memory, (&saved.config, base.as_ref()))?;
    let pages = match &base {
        None => PageSet::all(memory.layout()),
        Some(base) => differ::differing(&memory, base)?,
    };
    // What was compared is not copied yet.
    transfer.set_done(0);
    writer.copy(&memory, &pages)?;
    // It has all that it needs of the VM.
    drop(still);
    if !transfer.commit() {
        return Err(ControlError::Stopping);
    }
    transfer.reach(TransferState::Committing);
    writer.finish(&saved.state)?;
    Ok(())
}

fn writer<'s>(
    storage: &'s HostStorage,
    target: &Target,
    memory: &Watched<MigrationMemory>,
    (config, base): (&[u8], Option<&Snapshot<'_, HostStorage>>),
) -> Result<SnapshotWriter<'s, HostStorage>, SnapshotError> {
    let random = |source| SnapshotError::Io {
        action: "get random bytes for",
        path: target.directory.clone(),
        source,
    };
    let id = SnapshotId::random().map_err(random)?;
    let base = base.map(|snapshot| Base { snapshot, path: name_of(snapshot.path()) });
    SnapshotWriter::create(storage, &target.directory, id, memory.layout(), config, base)
}

/// How a restore finds the base.
fn name_of(base: &Path) -> String {
    base.to_string_lossy().into_owned()
}
