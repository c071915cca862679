//! A source that gives up: the VM goes on first, then there is talk.
//!
//! ```text
//!   an error ─▶ log and throttle end ─▶ in doubt, or stranded: the VM stands still, and whoever asked is told
//!                  └─▶ the disks are taken back, if they were given up ─▶ the VM goes on ─▶ the destination is told why, or asked
//!                            └─ somebody has them: the VM stands still, as in doubt
//! ```
//!
//! Invariants:
//! - A VM that stays here is let go before anything is sent or waited for.
//! - It is not let go without its disks, nor when the destination may have it.

use super::error::MigrationError;
use super::phase::{SourceEvent, SourcePhase};
use super::send::{Disks, Sent, Source};
use super::vm::SourceVm;
use crate::wire::{Message, Transport, WireError};

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    /// Puts the VM back as it was, unless only the destination can know whose it is.
    pub(super) fn give_up(mut self, error: MigrationError) -> Sent<V::Still> {
        let is_refused = matches!(error, MigrationError::Wire(WireError::Peer { .. }));
        let event = if is_refused { SourceEvent::Refused } else { SourceEvent::Lost };
        // Legal in every phase but the last ones, in which nothing fails.
        drop(self.on(event));
        self.vm.stop_dirty_log();
        self.throttle(0);
        if let Some(still) = self.still.take() {
            match self.phase {
                SourcePhase::InDoubt => return Sent::InDoubt { still, error },
                SourcePhase::Stranded => return Sent::Stranded { still, error },
                _ => {}
            }
            if self.disks == Disks::Released
                && let Err(source) = self.vm.retake_disks(&still)
            {
                let error = MigrationError::Vm { action: "take the disks back", source };
                // Whose the VM is is known, but it cannot go on.
                self.handle.set_phase(SourcePhase::InDoubt);
                return Sent::InDoubt { still, error };
            }
        }
        // The VM runs again; the rest is talk.
        if self.handle.is_cancelled() {
            return Sent::Restored(MigrationError::Cancelled);
        }
        Sent::Restored(self.explain(error))
    }

    /// Tells the destination why, and asks it what it knows when the link broke.
    fn explain(&mut self, error: MigrationError) -> MigrationError {
        let Some(control) = self.connections.first_mut() else { return error };
        if matches!(error, MigrationError::Wire(WireError::Peer { .. })) {
            return error;
        }
        let reason = error.to_string().into();
        if control.send(Message::Abort { reason }).is_err() && !is_broken(&error) {
            return error;
        }
        // So that nothing but the first connection is waited for there.
        self.handle.interrupt_from(1);
        match control.message("the other end's reason") {
            Err(WireError::Peer { reason }) if is_broken(&error) => {
                WireError::Peer { reason }.into()
            }
            _ => error,
        }
    }
}

/// Whether the other end may know more about it.
fn is_broken(error: &MigrationError) -> bool {
    matches!(error, MigrationError::Wire(WireError::Io(_) | WireError::Closed { .. }))
}
