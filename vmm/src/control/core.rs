//! Whose turn it is: the VM has one owner at a time, and whoever has something to be done takes the turn.
//!
//! ```text
//!   post ──▶ inbox ──▶ take_turn: is the owner here? ──yes──▶ take it, work the inbox off, put it back ──▶ look again
//!                                    └──no──▶ whoever has it works this off, too
//! ```
//!
//! A thread of its own for the owner would cost every request two changes of threads, and on a host
//! whose processors are full of spinning vCPUs each can take many milliseconds. So the owner
//! is an object that moves: the API thread that brings a request takes it, does the work and puts it
//! back. The control thread takes it for what vCPUs ask, because a vCPU never does.
//!
//! Invariants: the owner is in one place, the queue of one or a stack frame; a message that was
//! posted is worked off by its poster or by somebody who looks after it was posted; when the owner is
//! gone, for whatever reason, nobody waits for an answer.

use std::panic::{self, AssertUnwindSafe};

use crossbeam_queue::ArrayQueue;
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{Ordering, fence};

use super::owner::Owner;
use super::published::Published;
use super::{Ended, Inbox};

/// What the threads of a VMM share.
pub(super) struct Core {
    pub(super) inbox: Arc<Inbox>,
    pub(super) published: Arc<Published>,
    /// Holds the owner while nobody has the turn.
    place: ArrayQueue<Box<Owner>>,
}

impl Core {
    pub(super) fn new(owner: Owner, inbox: Arc<Inbox>, published: Arc<Published>) -> Self {
        let place = ArrayQueue::new(1);
        // Cannot fail: the place is empty.
        let _ = place.push(Box::new(owner));
        Self { inbox, published, place }
    }

    /// Works the inbox off, unless somebody is at it.
    pub(super) fn take_turn(&self) {
        while self.inbox.has_work() {
            // Pairs with the fence below: either this thread finds the owner, or the one that puts it
            // back finds the work.
            fence(Ordering::SeqCst);
            let Some(owner) = self.place.pop() else { return };
            let mut turn = Turn { core: self, owner: Some(owner) };
            turn.work();
            drop(turn);
            fence(Ordering::SeqCst);
        }
    }
}

/// The owner, in this thread's hands.
struct Turn<'c> {
    core: &'c Core,
    owner: Option<Box<Owner>>,
}

impl Turn<'_> {
    fn work(&mut self) {
        let Some(mut owner) = self.owner.take() else { return };
        // While it is worked with it is not in `self`: a panic drops it, and the VM with it. Whoever
        // waits for the end of the VM is told before: a VMM without an owner can do nothing any more.
        match panic::catch_unwind(AssertUnwindSafe(|| owner.work())) {
            Ok(None) => self.owner = Some(owner),
            Ok(Some(ended)) => self.end(*owner, ended),
            Err(payload) => {
                self.end(*owner, Ended::Failed("the VMM panicked".to_owned()));
                panic::resume_unwind(payload);
            }
        }
    }

    fn end(&self, mut owner: Owner, ended: Ended) {
        owner.finish(&ended);
        self.core.inbox.close(ended);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        match self.owner.take() {
            // Cannot fail: the place was emptied by this turn.
            Some(owner) => drop(self.core.place.push(owner)),
            // Does nothing unless ending the VM panicked, too.
            None => self.core.inbox.close(Ended::Failed("the VMM panicked".to_owned())),
        }
    }
}
