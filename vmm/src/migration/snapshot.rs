//! Taking a snapshot.
//!
//! ```text
//!   held:   Begin ─▶ hold ─▶ Save ─▶ all pages, or those that differ from the base ─▶ let go ─▶ sync, rename
//!   live:   Begin ─▶ log ─▶ all pages, then those that were written meanwhile … ─▶ hold ─▶ Save, the last pages ─▶ let go ─▶ sync, rename
//! ```
//!
//! The VM is as it was afterwards, whatever comes of the snapshot. What makes the copy last on the disk is
//! not waited for with the VM held. Disks are not part of a snapshot: it is of use with the images as they were when it was taken.

use std::path::{Path, PathBuf};

use migration::memory::{PAGE_SIZE, PageSet, SourceMemory};
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

/// So many rounds over the memory of a VM that runs, at most.
const ROUNDS: u32 = 8;
/// So few pages are copied while the VM stands still.
const LITTLE: u64 = 1024;

/// Where to, and how.
struct Target {
    directory: PathBuf,
    base: Option<PathBuf>,
    live: bool,
}

/// Takes a snapshot of the VM.
pub(crate) fn snapshot(line: &Line, config: &SnapshotConfig) -> Result<(), ControlError> {
    let base = config.base_url.as_deref().map(|url| file_url("base_url", url)).transpose()?;
    let directory = file_url("destination_url", &config.destination_url)?;
    let target = Target { directory, base, live: config.live };
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

/// What a snapshot is made from and into.
struct Work<'s> {
    line: &'s Line,
    begun: &'s Begun,
    storage: &'s HostStorage,
    target: &'s Target,
    memory: Watched<MigrationMemory>,
    base: Option<Snapshot<'s, HostStorage>>,
}

/// A snapshot that has all that it needs of the VM.
struct Taken<'s> {
    writer: SnapshotWriter<'s, HostStorage>,
    state: Vec<u8>,
}

fn take(
    line: &Line,
    transfer: &Arc<Transfer>,
    begun: &Begun,
    target: &Target,
) -> Result<(), ControlError> {
    let storage = &HostStorage;
    let base = target.base.as_deref().map(|path| Snapshot::open(storage, path)).transpose()?;
    let memory = Watched { memory: begun.memory.pages()?, transfer: Arc::clone(transfer) };
    transfer.set_memory(memory.layout().bytes());
    transfer.reach(TransferState::Copying);
    let work = Work { line, begun, storage, target, memory, base };
    let Taken { writer, state } = if target.live { work.live()? } else { work.held()? };
    if !transfer.commit() {
        return Err(ControlError::Stopping);
    }
    transfer.reach(TransferState::Committing);
    writer.finish(&state)?;
    Ok(())
}

impl<'s> Work<'s> {
    /// Copies while the VM stands still.
    fn held(&self) -> Result<Taken<'s>, ControlError> {
        let still = Arc::new(self.begun.stillness.reach(PAUSE_DEADLINE)?);
        let saved = self.line.save(self.begun.vm, &still)?;
        let mut writer = self.writer(&saved.config)?;
        writer.copy(&self.memory, &self.pages()?)?;
        drop(still);
        Ok(Taken { writer, state: saved.state })
    }

    /// Copies while the VM is as it was, and then, while it stands still, what was written meanwhile.
    fn live(&self) -> Result<Taken<'s>, ControlError> {
        let mut log = self.begun.memory.start_log()?;
        let mut writer = self.writer(&self.begun.config)?;
        let mut pages = self.pages()?;
        for _ in 0..ROUNDS {
            writer.copy(&self.memory, &pages)?;
            let before = pages.len();
            pages = log.collect()?;
            // A guest that writes faster than the disk gains nothing by another round.
            if pages.len() <= LITTLE || pages.len() >= before {
                break;
            }
        }
        self.memory.transfer.reach(TransferState::Stopped);
        let still = Arc::new(self.begun.stillness.reach(PAUSE_DEADLINE)?);
        pages.add_all(&log.last(&still)?);
        let saved = self.line.save(self.begun.vm, &still)?;
        if saved.config != self.begun.config {
            let why = "the VM's devices have changed while its memory was copied";
            return Err(ControlError::Failed(why.to_owned()));
        }
        writer.copy(&self.memory, &pages)?;
        drop(still);
        Ok(Taken { writer, state: saved.state })
    }

    /// Those that the base does not have as they are.
    fn pages(&self) -> Result<PageSet, SnapshotError> {
        let Some(base) = &self.base else { return Ok(PageSet::all(self.memory.layout())) };
        let transfer = &self.memory.transfer;
        transfer.reach(TransferState::Comparing);
        let compared = |bytes| self.memory.done(bytes);
        let pages = differ::differing(&self.memory.memory, base, &compared)?;
        // What was compared is not copied yet; what the base has need not be.
        let copied = pages.len() * PAGE_SIZE as u64;
        transfer.set_done(self.memory.layout().bytes().saturating_sub(copied));
        transfer.reach(TransferState::Copying);
        Ok(pages)
    }

    fn writer(&self, config: &[u8]) -> Result<SnapshotWriter<'s, HostStorage>, SnapshotError> {
        let directory = &self.target.directory;
        let random = |source| SnapshotError::Io {
            action: "get random bytes for",
            path: directory.clone(),
            source,
        };
        let id = SnapshotId::random().map_err(random)?;
        let base = self.base.as_ref();
        let base = base.map(|snapshot| Base { snapshot, path: name_of(snapshot.path()) });
        SnapshotWriter::create(self.storage, directory, id, self.memory.layout(), config, base)
    }
}

/// How a restore finds the base.
fn name_of(base: &Path) -> String {
    base.to_string_lossy().into_owned()
}
