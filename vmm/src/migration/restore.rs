//! Restoring a VM from a snapshot.
//!
//! ```text
//!   expect ─▶ build, held ─▶ memory ─▶ state ─▶ the disks' locks ─▶ paused ─▶ running, if that was asked for
//!      └─ any error: nothing is left, and the VMM has no VM, as before
//! ```
//!
//! On demand, `memory` is a thread that begins to bring pages, and is done long after the VM runs ([`crate::memory`]); or the mapping of a file.

use std::fs::File;

use migration::snapshot::{HostStorage, Snapshot};
use migration::wire::Phase;
use vcpu_state::sync::Arc;

use super::Transfer;
use super::destination::{Arrival, RestoreError};
use super::progress::TransferKind;
use super::snapshot::settle;
use crate::config::{MemoryRestoreMode, RestoreConfig, file_url};
use crate::control::{ControlError, Line};
use crate::host_devices::Claim;
use crate::memory::LazyRam;
use crate::vm::Start;

/// Restores a VM.
pub(crate) fn restore(line: &Line, config: &RestoreConfig) -> Result<(), ControlError> {
    let directory = file_url("source_url", &config.source_url)?;
    let storage = HostStorage;
    let snapshot = Snapshot::open(&storage, &directory)?;
    let transfer = Transfer::new(TransferKind::Restore, directory.display().to_string());
    let transfer = Arc::new(transfer.map_err(|error| ControlError::Failed(error.to_string()))?);
    let mut arrival = Arrival::expect(line, &transfer, &config.net_fds)?;
    let restored = fill(&mut arrival, &snapshot, config).map_err(|error| match error {
        RestoreError::Control(error) => error,
        error => ControlError::Failed(format!("{}: {error}", directory.display())),
    });
    drop(arrival);
    settle(&transfer, restored)
}

/// Whether this host can fill memory while the VM runs; else a file is mapped.
fn can_bring() -> bool {
    let can = LazyRam::probe();
    if let Err(error) = &can {
        tracing::warn!("the snapshot's memory is mapped, and not checked: {error}");
    }
    can.is_ok()
}

fn fill(
    arrival: &mut Arrival,
    snapshot: &Snapshot<'_, HostStorage>,
    config: &RestoreConfig,
) -> Result<(), RestoreError> {
    let (vm, state) = (snapshot.config(), snapshot.state());
    let vm = vm.map_err(ControlError::from)?;
    let state = state.map_err(ControlError::from)?;
    match config.memory_restore_mode {
        MemoryRestoreMode::Copy => {
            let memory = arrival.build_from(&vm, Start::Restore { ram: None }, Claim::Later)?;
            snapshot.restore_memory(memory).map_err(ControlError::from)?;
        }
        MemoryRestoreMode::OnDemand if can_bring() => {
            let pages = snapshot.pages().map_err(ControlError::from)?;
            arrival.build_from(&vm, Start::RestoreLazily, Claim::Later)?;
            arrival.fill_lazily(pages)?;
        }
        MemoryRestoreMode::OnDemand | MemoryRestoreMode::Mapped => {
            let file = snapshot.full_memory_file();
            let file = File::open(file).map_err(RestoreError::Memory)?;
            let start = Start::RestoreOver { file: Arc::new(file) };
            let memory = arrival.build_from(&vm, start, Claim::Later)?;
            snapshot.restore_changes(memory).map_err(ControlError::from)?;
        }
    }
    arrival.restore_state(&state)?;
    arrival.claim_disks()?;
    Ok(arrival.let_go(if config.resume { Phase::Running } else { Phase::Paused })?)
}
