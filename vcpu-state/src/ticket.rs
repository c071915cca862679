//! A ticket: the end of some work that a guest's register write started, to wait for.
//!
//! ```text
//!   pending ──complete(Done)──────▶ done
//!      ├──────complete(Failed)────▶ failed
//!      └──────drop of the Completer (a panic, too)──▶ failed
//! ```
//!
//! Invariant: every ticket gets done, because the [`Completer`] does it on every path.

use crate::group::Group;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::work::Request;

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed, or whoever did it is gone.
    Failed,
}

const PENDING: u32 = 0;
const DONE: u32 = 1;
const FAILED: u32 = 2;

/// The waiter's end; any number of members may wait for one.
#[derive(Clone, Debug)]
pub struct Ticket(State);

/// What the ticket is a ticket for.
#[derive(Clone, Debug)]
enum State {
    /// Work that is done once.
    Once(Arc<AtomicU32>),
    /// A request for work that is done in rounds ([`crate::WorkItem`]).
    Request(Request),
}

/// The worker's end. Dropping it fails the ticket.
#[derive(Debug)]
pub struct Completer {
    state: Arc<AtomicU32>,
    group: Arc<Group>,
}

impl Ticket {
    /// A ticket that members of `group` can wait for.
    #[must_use]
    pub fn new(group: &Arc<Group>) -> (Self, Completer) {
        let state = Arc::new(AtomicU32::new(PENDING));
        (Self(State::Once(Arc::clone(&state))), Completer { state, group: Arc::clone(group) })
    }

    pub(crate) fn of_request(request: Request) -> Self {
        Self(State::Request(request))
    }

    /// How the work ended, or `None` while it goes on.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.0 {
            // Acquire: pairs with the release in `Completer::finish`; what the work did is visible.
            State::Once(state) => match state.load(Ordering::Acquire) {
                PENDING => None,
                DONE => Some(Outcome::Done),
                _ => Some(Outcome::Failed),
            },
            State::Request(request) => request.outcome(),
        }
    }
}

impl Completer {
    /// Ends the work and wakes who waits for it.
    pub fn complete(self, outcome: Outcome) {
        self.finish(if outcome == Outcome::Done { DONE } else { FAILED });
    }

    fn finish(&self, end: u32) {
        // Release on success: pairs with the acquire in `Ticket::outcome`. Once only: the first end stands.
        let first = self.state.compare_exchange(PENDING, end, Ordering::Release, Ordering::Relaxed);
        if first.is_ok() {
            self.group.ticketing.advance();
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.finish(FAILED);
    }
}
