//! The owner's part in transfers: which may begin, what they may ask, and what becomes of requests and guest events meanwhile.
//!
//! | while | requests about devices, sizes and vCPUs, other transfers | pause, resume, NMI, … | shutdown, delete, reboot | the guest's reset or power-off |
//! |---|---|---|---|---|
//! | memory is copied | refused | carried out | end the transfer | carried out; ends the transfer |
//! | the VM leaves | refused | wait | end the transfer if that is possible, and wait | kept: the other end's, or this one's if the VM stays |
//! | in doubt | refused | refused | end the VM here | kept |
//! | a VM comes | refused | refused | shutdown and delete end it, and wait | none |
//!
//! What waits is asked again when it is known whose the VM is. `vmm.shutdown` waits for nothing.
//!
//! Invariants: at most one transfer at a time; a VM whose state has left does nothing here before the other end is known not to have it.

use migration::wire::Phase as WirePhase;
use vcpu_state::sync::Arc;

use super::beginning::busy;
use super::doubt::Doubt;
use super::line::{Ask, Outcome, Saved, Told};
use super::message::{Message, Request};
use super::owner::Owner;
use super::phase::{Move, Phase};
use super::{ControlError, Ended, VmEnd};
use crate::migration::Transfer;
use crate::vm::{Still, Vm};

/// What the owner knows of transfers.
#[derive(Default)]
pub(super) struct Transfers {
    /// The one under way.
    pub(super) now: Option<Arc<Transfer>>,
    /// What is asked again when it is known whose the VM is.
    waiting: Vec<Message>,
    /// What holds a VM that is in doubt.
    pub(super) doubt: Option<Doubt>,
}

impl Owner {
    /// Answers a worker; says so if the VMM has to end.
    pub(super) fn serve_transfer(
        &mut self,
        ask: Ask,
    ) -> (Result<Told, ControlError>, Option<Ended>) {
        let told = match ask {
            Ask::Begin(transfer) => self.begin(transfer).map(|begun| Told::Begun(Box::new(begun))),
            Ask::Leave(vm) => self.leave(vm).map(Told::Phase),
            Ask::Save { vm, still } => self.save(vm, &still).map(Told::Saved),
            Ask::Stays(vm) => self.stay(vm).map(|()| Told::Done),
            Ask::Gone(transfer) => return self.gone(&transfer),
            Ask::Ended(transfer, outcome) => self.transfer_ended(&transfer, outcome),
            Ask::Resolve(resolution) => return self.resolve(resolution),
            Ask::Expect(transfer) => self.expect(transfer).map(|()| Told::Done),
            Ask::Build(config, start, claim) => {
                self.build_expected(*config, start, claim).map(Told::Built)
            }
            Ask::Bring(pages) => self.bring_expected(pages).map(|()| Told::Done),
            Ask::Rehearse => self.rehearse_expected().map(Told::Rehearsed),
            Ask::Restore(state) => self.restore_expected(&state).map(|()| Told::Done),
            Ask::Start(transfer, phase) => {
                self.start_expected(&transfer, phase).map(|()| Told::Done)
            }
            Ask::Discard(transfer) => self.discard_expected(&transfer),
        };
        (told, None)
    }

    /// Whether this request has to be refused, or to wait, because of a transfer.
    pub(super) fn sift(&mut self, request: &Request) -> Result<Sifted, ControlError> {
        if let Some(transfer) = &self.transfers.now
            && matches!(request, Request::Devices(_) | Request::AddVcpu(_) | Request::RemoveVcpu(_))
        {
            return Err(busy(transfer));
        }
        let ends = matches!(request, Request::Shutdown | Request::Delete | Request::Reboot);
        match (self.published.phase(), request) {
            (Phase::Leaving, _) => {
                if ends {
                    self.end_transfer("the VM is to end");
                }
                Ok(Sifted::Waits)
            }
            // It would run here, and perhaps there.
            (Phase::Doubtful, Request::Reboot) => Err(ControlError::InDoubt),
            (Phase::Restoring, Request::Shutdown | Request::Delete) => {
                self.end_transfer("the VM is not wanted any more");
                Ok(Sifted::Waits)
            }
            _ => Ok(Sifted::Passes),
        }
    }

    /// Is asked again when it is known whose the VM is.
    pub(super) fn put_off(&mut self, message: Message) {
        self.transfers.waiting.push(message);
    }

    pub(super) fn bring_up_again(&mut self) {
        for message in std::mem::take(&mut self.transfers.waiting) {
            self.inbox.put(message);
        }
    }

    /// Ends the transfer that is under way, if it can be; its worker says when it has.
    pub(super) fn end_transfer(&self, why: &str) {
        if let Some(transfer) = &self.transfers.now {
            // Too late: what is asked for then finds the VM here, or gone.
            let _ = transfer.end(why);
        }
    }

    /// The VM with this serial number, which has not ended since its transfer began.
    fn the_vm(&mut self, vm: u64) -> Result<&mut Vm, ControlError> {
        let is_it = vm == self.serial;
        let ended = || ControlError::Failed("the VM has ended meanwhile".to_owned());
        self.vm.as_mut().filter(|_| is_it).ok_or_else(ended)
    }

    fn leave(&mut self, vm: u64) -> Result<WirePhase, ControlError> {
        let is_held = self.the_vm(vm)?.is_held();
        self.published.phase.advance(Move::Leave)?;
        Ok(if is_held { WirePhase::Paused } else { WirePhase::Running })
    }

    fn save(&mut self, vm: u64, still: &Arc<Still>) -> Result<Saved, ControlError> {
        self.the_vm(vm)?;
        // What the guest has let go of before it stopped is gone before the state is.
        self.collect_ejected();
        let vm = self.the_vm(vm)?;
        vm.retire_ejected();
        let state = vm.save(still).map_err(|error| ControlError::Failed(error.to_string()))?;
        Ok(Saved { config: self.config_as_json()?, state })
    }

    fn gone(&mut self, transfer: &Arc<Transfer>) -> (Result<Told, ControlError>, Option<Ended>) {
        let place = transfer.place().to_owned();
        if let Err(error) = self.published.phase.advance(Move::Done) {
            return (Err(error), None);
        }
        tracing::info!("the VM is at {place} now");
        (Ok(Told::Done), self.remove_moved(place))
    }

    /// The VM, which stands still, is another VMM's; the phase is one in which it ends.
    pub(super) fn remove_moved(&mut self, place: String) -> Option<Ended> {
        self.transfers.now = None;
        for message in std::mem::take(&mut self.transfers.waiting) {
            if let Message::Request(_, answer) = message {
                answer.send(Err(ControlError::Moved(place.clone())));
            }
        }
        self.stop();
        // Legal: it was ending.
        let _ = self.published.phase.advance(Move::Done);
        self.host.clear();
        // It cannot be booted again here by mistake: there is nothing left of it.
        let _ = self.delete();
        let ended = Ended::Moved(place);
        match self.options.vm_end {
            VmEnd::VmmEnds => Some(ended),
            VmEnd::VmmStays => {
                self.tell(&ended);
                None
            }
        }
    }

    fn transfer_ended(
        &mut self,
        transfer: &Arc<Transfer>,
        outcome: Outcome,
    ) -> Result<Told, ControlError> {
        if !self.transfers.now.as_ref().is_some_and(|now| Arc::ptr_eq(now, transfer)) {
            // The VM is gone, and it with it.
            return Ok(Told::Done);
        }
        self.transfers.now = None;
        let is_leaving = self.published.phase() == Phase::Leaving;
        match outcome {
            Outcome::InDoubt { still, error, keep } if is_leaving => {
                self.published.phase.advance(Move::Doubt)?;
                tracing::error!("{error}");
                self.published.last_error.store(Some(Arc::new(error)));
                self.transfers.doubt = Some(Doubt { still, transfer: Arc::clone(transfer), keep });
            }
            Outcome::InDoubt { .. } | Outcome::Stays => {
                return self.stay(self.serial).map(|()| Told::Done);
            }
        }
        self.bring_up_again();
        Ok(Told::Done)
    }

    /// A VM that was leaving stays.
    fn stay(&mut self, vm: u64) -> Result<(), ControlError> {
        if self.published.phase() == Phase::Leaving && vm == self.serial {
            self.published.phase.advance(Move::Failed)?;
            self.go_on_unless_held()?;
        }
        self.bring_up_again();
        // What the guest has asked for meanwhile.
        self.inbox.wake();
        Ok(())
    }

    /// The VM is here, and runs unless its user holds it.
    pub(super) fn go_on_unless_held(&mut self) -> Result<(), ControlError> {
        if !self.vm.as_ref().is_some_and(Vm::is_held) {
            self.published.phase.advance(Move::Resume)?;
        }
        Ok(())
    }

    /// The VMM ends: whatever is under way does, too.
    pub(super) fn drop_transfers(&mut self) {
        self.end_transfer("the VMM is shutting down");
        self.transfers = Transfers::default();
    }

    /// The VM has ended here.
    pub(super) fn end_transfer_of_vm(&mut self, why: &str) {
        self.end_transfer(why);
        self.transfers.doubt = None;
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sifted {
    /// It is carried out.
    Passes,
    /// It waits until it is known whose the VM is.
    Waits,
}
