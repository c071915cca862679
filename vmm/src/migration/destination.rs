//! A VM that comes, as the engine sees it, and a restore: the owner builds it, this fills it.

use std::io;
use std::time::Duration;

use migration::engine::{DestinationVm, VmError};
use migration::wire::{Phase, Rehearsal};
use vcpu_state::sync::Arc;

use super::memory::Watched;
use super::progress::TransferState;
use super::{Disks, Transfer};
use crate::config::{ConfigError, VmConfig};
use crate::control::{ControlError, Line};
use crate::memory::MigrationMemory;
use crate::vm::Start;

/// A VM that was saved cannot be had here.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its configuration is none.
    #[error("its configuration: {0}")]
    Config(#[from] ConfigError),
    /// The owner of the VM.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Its memory.
    #[error("its memory: {0}")]
    Memory(io::Error),
    /// It was ended before it was done.
    #[error("{0}")]
    Ended(String),
    /// It was asked for out of order.
    #[error("no VM was built")]
    NotBuilt,
}

/// The VM that is to come. Dropping it discards it, unless it was started.
pub(super) struct Arrival {
    line: Line,
    transfer: Arc<Transfer>,
    memory: Option<Watched<MigrationMemory>>,
    disks: Disks,
    /// Whether the owner expects one.
    is_expected: bool,
    was_described: bool,
}

impl Arrival {
    /// The owner expects a VM.
    ///
    /// # Errors
    /// There is one.
    pub(super) fn expect(line: &Line, transfer: &Arc<Transfer>) -> Result<Self, ControlError> {
        line.expect(transfer)?;
        Ok(Self {
            line: line.clone(),
            transfer: Arc::clone(transfer),
            memory: None,
            disks: Disks::default(),
            is_expected: true,
            was_described: false,
        })
    }

    /// Whether the owner does not expect one any more.
    pub(super) fn is_given_up(&self) -> bool {
        !self.is_expected
    }

    /// Builds it, held; its memory is what `start` brings, or zeros.
    pub(super) fn build_from(
        &mut self,
        config: &[u8],
        start: Start,
    ) -> Result<&Watched<MigrationMemory>, RestoreError> {
        self.was_described = true;
        let config = VmConfig::from_json(config)?;
        config.validate_arriving()?;
        let built = self.line.build(config, start)?;
        self.disks = built.disks;
        self.transfer.set_memory(built.ram.regions().map(|region| region.size).sum());
        self.transfer.reach(TransferState::Copying);
        let memory = MigrationMemory::new(&built.ram).map_err(RestoreError::Memory)?;
        Ok(self.memory.insert(Watched { memory, transfer: Arc::clone(&self.transfer) }))
    }

    /// Gives it its state.
    pub(super) fn restore_state(&mut self, state: &[u8]) -> Result<(), ControlError> {
        self.transfer.reach(TransferState::HandingOver);
        self.line.restore(state.to_vec())
    }

    /// Takes the locks of its disks, if nobody has ended this. Nobody can end it from here on.
    pub(super) fn claim_disks(&mut self) -> Result<(), RestoreError> {
        if !self.transfer.commit() {
            let why = self.transfer.why_ended().unwrap_or("it was cancelled");
            return Err(RestoreError::Ended(why.to_owned()));
        }
        self.transfer.reach(TransferState::Committing);
        self.disks.claim().map_err(|error| ControlError::Failed(error.to_string()))?;
        Ok(())
    }

    /// Lets it run, or leaves it to its user.
    pub(super) fn let_go(&mut self, phase: Phase) -> Result<(), ControlError> {
        self.line.start(&self.transfer, phase)?;
        self.is_expected = false;
        Ok(())
    }

    fn give_up(&mut self) {
        if std::mem::take(&mut self.is_expected) {
            self.line.discard(&self.transfer);
        }
        self.memory = None;
        self.disks = Disks::default();
    }
}

impl DestinationVm for Arrival {
    type Memory = Watched<MigrationMemory>;

    fn build(&mut self, config: &[u8]) -> Result<(&Self::Memory, Option<Rehearsal>), VmError> {
        self.build_from(config, Start::Restore { ram: None })?;
        let rehearsal = self.line.rehearse()?;
        let nanoseconds = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let rehearsal = Rehearsal {
            save: nanoseconds(rehearsal.save),
            setup: nanoseconds(rehearsal.restore),
            state: rehearsal.bytes,
        };
        let memory = self.memory.as_ref().ok_or(RestoreError::NotBuilt)?;
        Ok((memory, Some(rehearsal)))
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), VmError> {
        Ok(self.restore_state(state)?)
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        Ok(self.claim_disks()?)
    }

    fn start(&mut self, phase: Phase) -> Result<(), VmError> {
        Ok(self.let_go(phase)?)
    }

    fn discard(&mut self) {
        // Who has described no VM was none that the owner waits for.
        if self.was_described {
            self.give_up();
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.give_up();
    }
}
