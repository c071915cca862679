//! The way to the owner of the VM for those who work for it: what a transfer's worker asks, and what it is told.

use std::sync::mpsc;

use migration::wire::Phase;
use vcpu_state::Group;
use vcpu_state::sync::Arc;

use super::ControlError;
use super::core::Core;
use super::message::Message;
use crate::config::{Resolution, VmConfig};
use crate::host_devices::Claim;
use crate::memory::{GuestRam, PageServer};
use crate::migration::{Disks, Transfer};
use crate::vm::{LiveMemory, Rehearsal, Start, Still, Stillness};

/// What a worker asks.
pub(super) enum Ask {
    /// A transfer of the VM that there is.
    Begin(Arc<Transfer>),
    /// The VM with this serial number is to be handed over, and stands still.
    Leave(u64),
    /// Its state, while it stands still.
    Save { vm: u64, still: Arc<Still> },
    /// It was leaving, and stays; it goes on already.
    Stays(u64),
    /// It is at the other end.
    Gone(Arc<Transfer>),
    /// A transfer has ended.
    Ended(Arc<Transfer>, Outcome),
    /// Whose the VM is.
    Resolve(Resolution),
    /// A VM will come.
    Expect(Arc<Transfer>),
    /// It is to be built.
    Build(Box<VmConfig>, Start, Claim),
    /// What brings its memory while it runs already.
    Bring(PageServer),
    /// What its restore will take.
    Rehearse,
    /// Its state.
    Restore(Vec<u8>),
    /// It is here.
    Start(Arc<Transfer>, Phase),
    /// It will not be here.
    Discard(Arc<Transfer>),
}

/// What a worker is told.
pub(super) enum Told {
    Done,
    Begun(Box<Begun>),
    Phase(Phase),
    Saved(Saved),
    Built(Built),
    Rehearsed(Rehearsal),
}

/// The handles on a VM that is transferred.
pub(crate) struct Begun {
    /// Its serial number.
    pub(crate) vm: u64,
    pub(crate) stillness: Stillness,
    pub(crate) memory: LiveMemory,
    pub(crate) vcpus: Arc<Group>,
    pub(crate) disks: Disks,
    /// Its configuration, as JSON.
    pub(crate) config: Vec<u8>,
}

/// What a VM is, but for its memory.
pub(crate) struct Saved {
    /// As JSON.
    pub(crate) config: Vec<u8>,
    /// As units.
    pub(crate) state: Vec<u8>,
}

/// The handles on a VM that was built for another's state.
pub(crate) struct Built {
    /// Its serial number.
    pub(crate) vm: u64,
    pub(crate) ram: GuestRam,
    pub(crate) disks: Disks,
}

/// What a transfer of the VM came to.
pub(crate) enum Outcome {
    /// The VM is here, as it was.
    Stays,
    /// Nobody here can know.
    InDoubt {
        /// What holds the VM.
        still: Arc<Still>,
        /// What happened.
        error: String,
        /// Whether it may still be kept here.
        keep: Keep,
    },
}

/// Whether a VM whose migration broke off may go on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// If the other end does not have it.
    Possible,
    /// It has gone on at the other end.
    TooLate,
}

/// The way to the owner.
#[derive(Clone)]
pub(crate) struct Line(Arc<Core>);

impl Line {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::clone(core))
    }

    fn ask(&self, ask: Ask) -> Result<Told, ControlError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.0.inbox.put(Message::Transfer(ask, answer));
        self.0.take_turn();
        // The sender is dropped unanswered when the VMM has ended.
        answered.recv().unwrap_or(Err(ControlError::Stopping))
    }

    /// A transfer of the VM begins.
    pub(crate) fn begin(&self, transfer: &Arc<Transfer>) -> Result<Begun, ControlError> {
        match self.ask(Ask::Begin(Arc::clone(transfer)))? {
            Told::Begun(begun) => Ok(*begun),
            _ => Err(ControlError::Stopping),
        }
    }

    /// The VM is to be handed over: whether its user holds it.
    pub(crate) fn leave(&self, vm: u64) -> Result<Phase, ControlError> {
        match self.ask(Ask::Leave(vm))? {
            Told::Phase(phase) => Ok(phase),
            _ => Err(ControlError::Stopping),
        }
    }

    /// Saves the VM, while it stands still.
    pub(crate) fn save(&self, vm: u64, still: &Arc<Still>) -> Result<Saved, ControlError> {
        match self.ask(Ask::Save { vm, still: Arc::clone(still) })? {
            Told::Saved(saved) => Ok(saved),
            _ => Err(ControlError::Stopping),
        }
    }

    /// The VM was leaving, and stays. Where there is no owner any longer there is no VM either.
    pub(crate) fn stays(&self, vm: u64) {
        let _ = self.ask(Ask::Stays(vm));
    }

    /// The VM is at the other end.
    pub(crate) fn gone(&self, transfer: &Arc<Transfer>) -> Result<(), ControlError> {
        self.ask(Ask::Gone(Arc::clone(transfer))).map(drop)
    }

    /// A transfer has ended. Where there is no owner any longer there is no VM either.
    pub(crate) fn ended(&self, transfer: &Arc<Transfer>, outcome: Outcome) {
        let _ = self.ask(Ask::Ended(Arc::clone(transfer), outcome));
    }

    /// Whose the VM in doubt is.
    pub(crate) fn resolve(&self, resolution: Resolution) -> Result<(), ControlError> {
        self.ask(Ask::Resolve(resolution)).map(drop)
    }

    /// A VM will come.
    pub(crate) fn expect(&self, transfer: &Arc<Transfer>) -> Result<(), ControlError> {
        self.ask(Ask::Expect(Arc::clone(transfer))).map(drop)
    }

    /// Builds the VM that was expected.
    pub(crate) fn build(
        &self,
        config: VmConfig,
        start: Start,
        claim: Claim,
    ) -> Result<Built, ControlError> {
        match self.ask(Ask::Build(Box::new(config), start, claim))? {
            Told::Built(built) => Ok(built),
            _ => Err(ControlError::Stopping),
        }
    }

    /// Has the memory of the VM that was built be brought by this for as long as it needs that.
    pub(crate) fn bring(&self, pages: PageServer) -> Result<(), ControlError> {
        self.ask(Ask::Bring(pages)).map(drop)
    }

    /// Memory of the VM with this serial number cannot be had although it may run: it ends, with this report. From any thread; it waits for nothing.
    pub(crate) fn memory_lost(&self, vm: u64, report: String) {
        let end = Some(self.0.published.ask_end());
        self.0.inbox.post(Message::VcpuFailed { vm, report, end });
    }

    /// What the restore of the VM that was built will take.
    pub(crate) fn rehearse(&self) -> Result<Rehearsal, ControlError> {
        match self.ask(Ask::Rehearse)? {
            Told::Rehearsed(rehearsal) => Ok(rehearsal),
            _ => Err(ControlError::Stopping),
        }
    }

    /// Gives the VM that was built its state.
    pub(crate) fn restore(&self, state: Vec<u8>) -> Result<(), ControlError> {
        self.ask(Ask::Restore(state)).map(drop)
    }

    /// The VM that was built is here, paused or running.
    pub(crate) fn start(&self, transfer: &Arc<Transfer>, phase: Phase) -> Result<(), ControlError> {
        self.ask(Ask::Start(Arc::clone(transfer), phase)).map(drop)
    }

    /// The VM that was expected will not be here.
    pub(crate) fn discard(&self, transfer: &Arc<Transfer>) {
        // Where there is no owner any longer there is no VM either.
        let _ = self.ask(Ask::Discard(Arc::clone(transfer)));
    }
}
