//! Whether a migration is cancelled or committed: never both.
//!
//! ```text
//!   OPEN ──cancel──▶ CANCELLED        one compare-and-swap decides: a commit is sent, or the operator was in time
//!     └────commit──▶ COMMITTING
//! ```

use vcpu_state::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
const CANCELLED: u8 = 1;
const COMMITTING: u8 = 2;

/// It is too late: the commit was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is too late to cancel: the VM is being handed over")]
pub struct TooLate;

/// What cancels and commits pass.
#[derive(Debug, Default)]
pub struct Gate(AtomicU8);

impl Gate {
    /// Cancels. Twice is once.
    ///
    /// # Errors
    /// The commit was before.
    pub fn cancel(&self) -> Result<(), TooLate> {
        match self.pass(CANCELLED) {
            Ok(_) | Err(CANCELLED) => Ok(()),
            Err(_) => Err(TooLate),
        }
    }

    /// From here on it cannot be cancelled; whether it was not before.
    pub fn commit(&self) -> bool {
        self.pass(COMMITTING).is_ok()
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        // Acquire: pairs with the release of `pass`.
        self.0.load(Ordering::Acquire) == CANCELLED
    }

    fn pass(&self, to: u8) -> Result<u8, u8> {
        // AcqRel: one order of cancels and commits, in which who comes second sees what the first did before.
        self.0.compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire)
    }
}
