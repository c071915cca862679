//! A VM of which nobody here can know whose it is: it stands still until its user says.
//!
//! ```text
//!   Doubtful ──keep: the disks, and the memory if that was passed, are nobody else's──▶ Paused, or Running by way of it
//!       └─────drop──▶ it ends here
//! ```

use vcpu_state::sync::Arc;

use super::line::{Keep, Told};
use super::owner::Owner;
use super::phase::Move;
use super::{ControlError, Ended};
use crate::config::Resolution;
use crate::migration::{Disks, Transfer};
use crate::vm::Still;

/// A VM in doubt.
pub(super) struct Doubt {
    #[expect(dead_code, reason = "its drop is what it is for")]
    pub(super) still: Arc<Still>,
    pub(super) transfer: Arc<Transfer>,
    pub(super) keep: Keep,
}

impl Owner {
    pub(super) fn resolve(
        &mut self,
        resolution: Resolution,
    ) -> (Result<Told, ControlError>, Option<Ended>) {
        let Some(doubt) = self.transfers.doubt.take() else {
            return (Err(ControlError::NotInDoubt), None);
        };
        match resolution {
            Resolution::Keep => (self.keep(doubt), None),
            Resolution::Drop => {
                let place = doubt.transfer.place().to_owned();
                // Legal: it is in doubt.
                let stopped = self.published.phase.advance(Move::Stop);
                doubt.transfer.settle_as_moved();
                let ended = stopped.is_ok().then(|| self.remove_moved(place)).flatten();
                // Behind the end of the words that it holds.
                drop(doubt);
                (Ok(Told::Done), ended)
            }
        }
    }

    fn keep(&mut self, doubt: Doubt) -> Result<Told, ControlError> {
        if doubt.keep == Keep::TooLate {
            self.transfers.doubt = Some(doubt);
            return Err(ControlError::Failed(
                "the VM has gone on at the other end: what is here is what it was before. Resolve with drop".to_owned(),
            ));
        }
        if let Err(error) = self.claim_all() {
            self.transfers.doubt = Some(doubt);
            return Err(ControlError::Failed(format!(
                "{error}; if the other VMM has the VM, resolve with drop"
            )));
        }
        doubt.transfer.settle_as_kept();
        self.published.last_error.store(None);
        self.published.phase.advance(Move::Keep)?;
        drop(doubt);
        self.go_on_unless_held()?;
        self.bring_up_again();
        self.inbox.wake();
        Ok(Told::Done)
    }

    /// What two VMMs cannot both have: the disks, and memory that the other one has mapped, too.
    fn claim_all(&self) -> Result<(), String> {
        if let Some(vm) = &self.vm {
            vm.machine().ram.claim().map_err(|error| error.to_string())?;
        }
        Disks::of(self.host.iter()).claim().map_err(|error| error.to_string())
    }
}
