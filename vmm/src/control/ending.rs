//! Ends of the VM that somebody has asked for, and that have not been carried out: so that what the owner waits for does not keep them.
//!
//! ```text
//!   asker:   asked += 1 ─▶ remind whoever waits ─▶ the message is in the inbox ───────────┐
//!   owner:   … pause waits ──is_asked──▶ takes it back, answers, takes the next message ──┴▶ end ─▶ asked -= 1 ─▶ answer
//! ```
//!
//! The owner carries one message out after the other, and an end kills words only when it is its turn: before it, whoever is asked for something else
//! finds a VM that lives, a migration that takes it along too. So nobody ends the VM out of turn; a pause that may last is only taken back before its deadline.
//!
//! Invariant: a pause that begins, or waits, while an end is asked for either is done or comes back. Either the asker reminds the pause's words, or the
//! pauser finds what was asked for: both have a fence between what they say and what they look at.

use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU32, Ordering, fence};

/// How many ends are asked for.
#[derive(Debug, Default)]
pub struct Ends {
    asked: AtomicU32,
}

/// An end that is asked for, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it says that nobody asks any more"]
pub struct EndAsked(Arc<Ends>);

impl Ends {
    /// An end is asked for. Whoever may wait has to be reminded next.
    pub fn ask(self: &Arc<Self>) -> EndAsked {
        // Release: who is reminded sees it with the reminder.
        self.asked.fetch_add(1, Ordering::Release);
        // Pairs with the fence in `is_asked`: this thread finds the words of the VM that is paused, or the pauser finds this.
        fence(Ordering::SeqCst);
        EndAsked(Arc::clone(self))
    }

    /// Whether any is.
    pub fn is_asked(&self) -> bool {
        fence(Ordering::SeqCst);
        // Acquire: pairs with `ask`.
        self.asked.load(Ordering::Acquire) > 0
    }
}

impl Drop for EndAsked {
    fn drop(&mut self) {
        // Relaxed: who sees a greater number gives up a pause of a VM that has just ended, if anything.
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_asked_for_until_the_last_asker_has_gone() {
        let ends = Arc::new(Ends::default());
        assert!(!ends.is_asked());
        let [one, other] = [ends.ask(), ends.ask()];
        drop(one);
        assert!(ends.is_asked());
        drop(other);
        assert!(!ends.is_asked());
    }
}
