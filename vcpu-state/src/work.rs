//! A work item: work that register writes ask for again and again, and that one thread does in rounds.
//!
//! ```text
//!   register write:  change the registers ─▶ WorkItem::request ─▶ Ticket n ─▶ wait in the vCPU's own word
//!                                                 │ asked = n, bell
//!                                                 ▼
//!   attendant:       Attendant::begin ─▶ Round(asked so far) ─▶ look at the registers, do the work ─▶ complete
//!                                                                              done = what was asked, wake
//! ```
//!
//! Registers hold what is wanted; the attendant makes the world agree with them. So requests need no queue
//! and no contents: a round that began after a request has seen what it asked for, and ends it together with
//! all that came before.
//!
//! Invariants: a ticket is done no earlier than the end of a round that began after its request; every
//! ticket gets done, because a round ends on every path (its drop fails it), and so does an attendant (its
//! drop fails what was asked and all that will be).

use crate::group::Group;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, FutexWord};
use crate::ticket::{Outcome, Ticket};

/// Set in `asked` when there is no attendant any longer.
const CLOSED: u64 = 1 << 63;
/// Set in `done` beside the number when that round failed.
const FAILED: u64 = 1 << 63;

/// The end of those who ask: register blocks.
#[derive(Debug)]
pub struct WorkItem {
    shared: Arc<Shared>,
}

/// The end of the one who does it. One thread may attend several items, with one bell.
#[derive(Debug)]
pub struct Attendant {
    shared: Arc<Shared>,
}

/// A round of work: what was asked until it began. Dropping it fails it.
#[derive(Debug)]
#[must_use = "dropping it fails the requests"]
pub struct Round {
    shared: Arc<Shared>,
    /// What `done` becomes: the requests that it answers, and FAILED unless it is completed.
    end: u64,
}

/// One request, as its ticket remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    shared: Arc<Shared>,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    /// Requests so far, and CLOSED.
    asked: AtomicU64,
    /// Requests whose round has ended, and whether the last round FAILED.
    done: AtomicU64,
    bell: Arc<FutexWord>,
    group: Arc<Group>,
}

impl WorkItem {
    /// An item whose tickets members of `group` can wait for. Every request rings `bell`.
    #[must_use]
    pub fn new(group: &Arc<Group>, bell: &Arc<FutexWord>) -> (Self, Attendant) {
        let shared = Arc::new(Shared {
            asked: AtomicU64::new(0),
            done: AtomicU64::new(0),
            bell: Arc::clone(bell),
            group: Arc::clone(group),
        });
        (Self { shared: Arc::clone(&shared) }, Attendant { shared })
    }

    /// Asks for a round. The caller has changed the registers that the round is to look at. Never blocks.
    #[must_use = "the ticket says when it is done"]
    pub fn request(&self) -> Ticket {
        // Release: pairs with the acquire in `begin`; the round sees the registers as they are now.
        let before = self.shared.asked.fetch_add(1, Ordering::AcqRel);
        self.shared.bell.advance();
        let number = (before & !CLOSED) + 1;
        Ticket::of_request(Request { shared: Arc::clone(&self.shared), number })
    }
}

impl Attendant {
    /// Begins a round, if something was asked since the last one began. The caller read the bell's
    /// generation before, and waits on it when there is nothing.
    pub fn begin(&mut self) -> Option<Round> {
        // Acquire: pairs with the release in `request`.
        let asked = self.shared.asked.load(Ordering::Acquire) & !CLOSED;
        // Relaxed: only rounds change it, and there is one at a time: this borrow, or none.
        let done = self.shared.done.load(Ordering::Relaxed) & !FAILED;
        (asked > done).then(|| Round { shared: Arc::clone(&self.shared), end: asked | FAILED })
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        // AcqRel: pairs with the acquire in `Request::outcome`.
        self.shared.asked.fetch_or(CLOSED, Ordering::AcqRel);
        self.shared.group.ticketing.advance();
    }
}

impl Round {
    /// Ends the round and wakes those who wait for it.
    pub fn complete(mut self, outcome: Outcome) {
        if outcome == Outcome::Done {
            self.end &= !FAILED;
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // Release: pairs with the acquire in `Request::outcome`; what the round did is visible.
        self.shared.done.store(self.end, Ordering::Release);
        self.shared.group.ticketing.advance();
    }
}

impl Request {
    /// How the round ended that answered it. Where more rounds have ended since, how the last one did.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.answer().or_else(|| {
            // Acquire: pairs with the drop of the attendant, who finished its rounds before.
            let closed = self.shared.asked.load(Ordering::Acquire) & CLOSED != 0;
            // Between the two looks its round may have ended, and the attendant after that.
            closed.then(|| self.answer().unwrap_or(Outcome::Failed))
        })
    }

    fn answer(&self) -> Option<Outcome> {
        // Acquire: pairs with the drop of the round.
        let done = self.shared.done.load(Ordering::Acquire);
        let outcome = if done & FAILED == 0 { Outcome::Done } else { Outcome::Failed };
        (done & !FAILED >= self.number).then_some(outcome)
    }
}
