//! Seeing to it that the owner hears of a transfer's end.

use vcpu_state::sync::Arc;

use super::Transfer;
use crate::control::{Line, Outcome};

/// A transfer that has begun. Dropping it says that the VM stays, if nothing else was said.
pub(super) struct Guard {
    line: Line,
    transfer: Arc<Transfer>,
    outcome: Option<Outcome>,
}

impl Guard {
    pub(super) fn new(line: &Line, transfer: &Arc<Transfer>) -> Self {
        let (line, transfer) = (line.clone(), Arc::clone(transfer));
        Self { line, transfer, outcome: Some(Outcome::Stays) }
    }

    /// It came to this.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.line.ended(&self.transfer, outcome);
        }
    }
}
