//! What a transfer begins with, or why it does not.
//!
//! Invariants: one transfer at a time; nobody copies a VM whose devices are on their way out, or whose own memory another migration still owes.

use vcpu_state::sync::Arc;

use super::ControlError;
use super::line::Begun;
use super::owner::Owner;
use crate::migration::{Disks, Transfer, TransferKind, TransferState};
use crate::vm::Vm;

impl Owner {
    pub(super) fn claim_turn(&self) -> Result<(), ControlError> {
        self.transfers.now.as_ref().map_or(Ok(()), |transfer| Err(busy(transfer)))
    }

    pub(super) fn begin(&mut self, transfer: Arc<Transfer>) -> Result<Begun, ControlError> {
        self.claim_turn()?;
        let action = match transfer.kind() {
            TransferKind::Send => "migrate",
            _ => "take a snapshot of",
        };
        self.live(action)?;
        self.claim_all_memory(action)?;
        let leaving: Vec<_> = self.vm.iter().flat_map(Vm::leaving).map(str::to_owned).collect();
        if !leaving.is_empty() {
            return Err(ControlError::Busy(format!(
                "cannot {action} a VM while its guest has not let go of {}",
                leaving.join(", ")
            )));
        }
        let begun = self.handles()?;
        self.published.transfer.store(Some(Arc::clone(&transfer)));
        self.transfers.now = Some(transfer);
        Ok(begun)
    }

    /// What post-copy still owes may never come, and whoever copies it would wait for it without an end. A snapshot's file is nearer.
    fn claim_all_memory(&self, action: &str) -> Result<(), ControlError> {
        let owed = self.vm.as_ref().map_or(0, |vm| vm.machine().ram.missing_bytes());
        let last = self.published.transfer.load();
        let is_filling = |last: &Arc<Transfer>| last.info().state == TransferState::Filling;
        if owed == 0 || !last.as_ref().is_some_and(is_filling) {
            return Ok(());
        }
        Err(ControlError::Busy(format!(
            "cannot {action} a VM to which its migration (post-copy) still owes {owed} bytes of memory; vm.migration-progress says when it has come"
        )))
    }

    fn handles(&self) -> Result<Begun, ControlError> {
        let vm = self.vm.as_ref().ok_or(ControlError::NotCreated)?;
        Ok(Begun {
            vm: self.serial,
            stillness: vm.stillness().clone(),
            memory: vm.live_memory(),
            vcpus: Arc::clone(vm.group()),
            disks: Disks::of(self.host.iter()),
            config: self.config_as_json()?,
        })
    }

    pub(super) fn config_as_json(&self) -> Result<Vec<u8>, ControlError> {
        let config = self.published.config.load_full().ok_or(ControlError::NotCreated)?;
        serde_json::to_vec(&*config).map_err(|error| ControlError::Failed(error.to_string()))
    }
}

pub(super) fn busy(transfer: &Transfer) -> ControlError {
    let what = match transfer.kind() {
        TransferKind::Snapshot => "a snapshot of the VM is being taken",
        TransferKind::Restore => "a VM is being restored",
        TransferKind::Send => "the VM is being migrated",
        TransferKind::Receive => "a VM is being received",
    };
    ControlError::Busy(format!("{what}: wait for its end, or end it with vm.migration-cancel"))
}
