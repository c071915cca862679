//! A VM that comes, as the engine sees it, and a restore: the owner builds it, this fills it.

use std::io;
use std::time::Duration;

use migration::engine::postcopy::LazyMemory;
use migration::engine::{Adoption, DestinationVm, VmError};
use migration::memory::{DestinationMemory, PageSet};
use migration::snapshot::{SnapshotPages, StoredFile};
use migration::wire::{Phase, Rehearsal};
use vcpu_state::sync::Arc;

use super::adopted::Adopted;
use super::memory::Watched;
use super::postcopy::IncomingRam;
use super::progress::TransferState;
use super::{Disks, Transfer};
use crate::config::{ConfigError, Images, NetFds, VmConfig};
use crate::control::{ControlError, Line};
use crate::host_devices::Claim;
use crate::memory::{GuestRam, LazyRam, MigrationMemory, PageServer, UffdError};
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
    /// Its memory cannot come while it runs.
    #[error("its memory: {0}")]
    Lazy(#[from] UffdError),
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
    /// The RAM of a VM that runs before it has all of it.
    lazy: Option<Arc<LazyRam>>,
    adopted: Adopted,
    /// Its open taps.
    net_fds: Vec<NetFds>,
    disks: Disks,
    /// Its serial number, and its RAM.
    built: Option<(u64, GuestRam)>,
    /// Whether the owner expects one.
    is_expected: bool,
    was_described: bool,
}

impl Arrival {
    /// The owner expects a VM, for which there are these open taps.
    ///
    /// # Errors
    /// There is one.
    pub(super) fn expect(
        line: &Line,
        transfer: &Arc<Transfer>,
        net_fds: &[NetFds],
    ) -> Result<Self, ControlError> {
        line.expect(transfer)?;
        Ok(Self {
            line: line.clone(),
            transfer: Arc::clone(transfer),
            memory: None,
            lazy: None,
            adopted: Adopted::default(),
            net_fds: net_fds.to_vec(),
            disks: Disks::default(),
            built: None,
            is_expected: true,
            was_described: false,
        })
    }

    /// Whether the owner does not expect one any more.
    pub(super) fn is_given_up(&self) -> bool {
        !self.is_expected
    }

    /// Builds it, held; its memory is what `start` brings, or zeros, and its disks are opened, or what `claim` has of them.
    pub(super) fn build_from(
        &mut self,
        config: &[u8],
        start: Start,
        claim: Claim,
    ) -> Result<&Watched<MigrationMemory>, RestoreError> {
        self.was_described = true;
        let config = VmConfig::arriving(config, &self.net_fds)?;
        config.validate_arriving(match &claim {
            Claim::Now | Claim::Later => Images::ByPath,
            Claim::Passed(_) => Images::Open,
        })?;
        let built = self.line.build(config, start, claim)?;
        self.disks = built.disks;
        self.built = Some((built.vm, built.ram.clone()));
        self.transfer.set_memory(built.ram.regions().map(|region| region.size).sum());
        self.transfer.reach(TransferState::Copying);
        let memory = MigrationMemory::new(&built.ram).map_err(RestoreError::Memory)?;
        Ok(self.memory.insert(Watched { memory, transfer: Arc::clone(&self.transfer) }))
    }

    /// Tries out what saving and restoring it takes.
    fn rehearse(&self) -> Result<Rehearsal, ControlError> {
        let rehearsal = self.line.rehearse()?;
        let nanoseconds = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Ok(Rehearsal {
            save: nanoseconds(rehearsal.save),
            setup: nanoseconds(rehearsal.restore),
            state: rehearsal.bytes,
        })
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

    /// Fills it with the pages of a snapshot from now on, also while it runs.
    pub(super) fn fill_lazily<F: StoredFile + Send + 'static>(
        &mut self,
        pages: SnapshotPages<F>,
    ) -> Result<(), RestoreError> {
        let (vm, ram) = self.built.clone().ok_or(RestoreError::NotBuilt)?;
        let line = self.line.clone();
        let lost = Box::new(move |report| line.memory_lost(vm, report));
        let server = PageServer::start(&ram, pages, lost)?;
        self.lazy = Some(Arc::clone(server.ram()));
        Ok(self.line.bring(server)?)
    }

    /// Lets it run, or leaves it to its user.
    pub(super) fn let_go(&mut self, phase: Phase) -> Result<(), ControlError> {
        if let Some(lazy) = &self.lazy {
            lazy.go_live().map_err(ControlError::Failed)?;
            self.transfer.reach(TransferState::Filling);
        }
        let started = self.line.start(&self.transfer, phase);
        if let (Err(_), Some(lazy)) = (&started, &self.lazy) {
            lazy.abandon();
        }
        started?;
        self.is_expected = false;
        Ok(())
    }

    fn give_up(&mut self) {
        if std::mem::take(&mut self.is_expected) {
            self.line.discard(&self.transfer);
            self.adopted.give_back();
        }
        (self.memory, self.lazy, self.built) = (None, None, None);
        self.adopted = Adopted::default();
        self.disks = Disks::default();
    }
}

impl DestinationVm for Arrival {
    type Memory = Watched<MigrationMemory>;

    fn adopt(&mut self, adoption: Adoption) -> Result<(), VmError> {
        self.adopted = Adopted::Passed(adoption);
        Ok(())
    }

    fn build(&mut self, config: &[u8]) -> Result<(&Self::Memory, Option<Rehearsal>), VmError> {
        let (ram, disks) = self.adopted.take(config, &self.net_fds)?;
        let is_adopted = ram.is_some();
        self.build_from(config, Start::Restore { ram }, disks.map_or(Claim::Later, Claim::Passed))?;
        // Nobody has to know in advance how long a hand-over takes that is to come at once.
        let rehearsal = if is_adopted { None } else { Some(self.rehearse()?) };
        Ok((self.memory.as_ref().ok_or(RestoreError::NotBuilt)?, rehearsal))
    }

    fn can_postpone(&self) -> bool {
        LazyRam::probe().is_ok()
    }

    fn postpone(&mut self, missing: &PageSet) -> Result<Arc<dyn LazyMemory>, VmError> {
        let (vm, ram) = self.built.clone().ok_or(RestoreError::NotBuilt)?;
        let memory = &self.memory.as_ref().ok_or(RestoreError::NotBuilt)?.memory;
        let lazy = LazyRam::watch(&ram, missing.len())?;
        // What came of them before is old.
        missing.runs().try_for_each(|run| memory.zero(run))?;
        // A part of a page that is larger than these may have become zeros instead of a hole.
        for run in missing.runs() {
            if !memory.is_hole(run)? {
                return Err(UffdError::NotEmpty.into());
            }
        }
        self.line.bring(PageServer::of_others(&lazy))?;
        self.lazy = Some(Arc::clone(&lazy));
        let (line, transfer) = (self.line.clone(), Arc::clone(&self.transfer));
        Ok(Arc::new(IncomingRam { ram: lazy, line, vm, transfer }))
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), VmError> {
        Ok(self.restore_state(state)?)
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        self.claim_disks()?;
        Ok(self.adopted.own()?)
    }

    fn start(&mut self, phase: Phase) -> Result<(), VmError> {
        Ok(self.let_go(phase)?)
    }

    fn discard(&mut self) {
        self.adopted = Adopted::default();
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
