//! The owner's part in a VM that comes: out of a snapshot, or from another VMM.
//!
//! ```text
//!   NotCreated ──expect──▶ Restoring: build, restore ──start──▶ Paused, or Running by way of it
//!                              └──discard──▶ NotCreated: nothing is left
//! ```
//!
//! Invariant: a VM that was built for another's state is never let go unless that was restored into it.

use migration::wire::Phase as WirePhase;
use vcpu_state::sync::Arc;

use super::ControlError;
use super::line::{Built, Told};
use super::owner::Owner;
use super::phase::{Move, Phase};
use crate::config::{ConsoleMode, VmConfig};
use crate::host_devices::Claim;
use crate::memory::PageServer;
use crate::migration::{Disks, Transfer};
use crate::vm::{Rehearsal, Start};

impl Owner {
    pub(super) fn expect(&mut self, transfer: Arc<Transfer>) -> Result<(), ControlError> {
        self.claim_turn()?;
        self.published.phase.advance(Move::Restore)?;
        self.published.transfer.store(Some(Arc::clone(&transfer)));
        self.transfers.now = Some(transfer);
        Ok(())
    }

    pub(super) fn build_expected(
        &mut self,
        config: VmConfig,
        start: Start,
        claim: Claim,
    ) -> Result<Built, ControlError> {
        self.expects()?;
        // A VM that ran in a terminal may come to a VMM without one.
        let mut config = config;
        for console in [&mut config.serial, &mut config.console] {
            if console.mode == ConsoleMode::Tty && self.options.open_terminal.is_none() {
                console.mode = ConsoleMode::Null;
            }
        }
        self.published.config.store(Some(Arc::new(config.clone())));
        let vm = self.build(&config, start, claim)?;
        let built = Built {
            vm: self.serial,
            ram: vm.machine().ram.clone(),
            disks: Disks::of(self.host.iter()),
        };
        self.vm = Some(vm);
        Ok(built)
    }

    fn expects(&self) -> Result<(), ControlError> {
        if self.published.phase() == Phase::Restoring {
            Ok(())
        } else {
            Err(ControlError::Stopping)
        }
    }

    pub(super) fn bring_expected(&mut self, pages: PageServer) -> Result<(), ControlError> {
        self.expects()?;
        self.vm.as_mut().ok_or(ControlError::NotCreated)?.brought_by(pages);
        Ok(())
    }

    pub(super) fn rehearse_expected(&self) -> Result<Rehearsal, ControlError> {
        self.expects()?;
        let vm = self.vm.as_ref().ok_or(ControlError::NotCreated)?;
        vm.rehearse().map_err(|error| ControlError::Failed(error.to_string()))
    }

    pub(super) fn restore_expected(&mut self, state: &[u8]) -> Result<(), ControlError> {
        self.expects()?;
        let vm = self.vm.as_mut().ok_or(ControlError::NotCreated)?;
        vm.restore(state).map_err(|error| ControlError::Failed(error.to_string()))
    }

    pub(super) fn start_expected(
        &mut self,
        transfer: &Arc<Transfer>,
        phase: WirePhase,
    ) -> Result<(), ControlError> {
        let vm = self.vm.take().ok_or(ControlError::NotCreated)?;
        self.published.phase.advance(Move::Done)?;
        self.published.last_error.store(None);
        if let Some(on_first_boot) = self.options.on_first_boot.take() {
            on_first_boot();
        }
        self.publish(vm);
        self.published.boot.set(
            self.options
                .started
                .take()
                .map_or_else(|| transfer.elapsed(), |started| started.elapsed()),
        );
        self.transfers.now = None;
        if phase == WirePhase::Running {
            // Woken at once: nobody is told first.
            drop(self.resume()?);
        }
        self.bring_up_again();
        self.inbox.wake();
        Ok(())
    }

    pub(super) fn discard_expected(
        &mut self,
        transfer: &Arc<Transfer>,
    ) -> Result<Told, ControlError> {
        if !self.transfers.now.as_ref().is_some_and(|now| Arc::ptr_eq(now, transfer)) {
            return Ok(Told::Done);
        }
        self.transfers.now = None;
        self.stop();
        self.host.clear();
        self.published.consoles.store(None);
        self.published.config.store(None);
        self.published.phase.advance(Move::Failed)?;
        self.bring_up_again();
        Ok(Told::Done)
    }
}
