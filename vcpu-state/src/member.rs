//! The owner's end of a word: what a vCPU thread or device worker does between two entries.
//!
//! ```text
//!   loop {
//!       match member.next() {
//!           Enter      => clear immediate_exit; if enter() { KVM_RUN; leave(); handle the exit }
//!           Ticket     => wait_ticket(), then finish_ticket()
//!           OneShot(x) => if take(x) { inject }
//!           Pause(e)   => complete the pending exit; park(e)
//!           Kill       => break
//!       }
//!   }                     // dropping the member publishes DEAD, after a panic as well
//! ```

use crate::event::{Event, Illegal, OneShot};
use crate::group::Group;
use crate::sync::Arc;
use crate::ticket::{Outcome, Ticket};
use crate::word::Word;

/// The owner's end of one slot. Its drop publishes DEAD.
pub struct Member {
    group: Arc<Group>,
    index: usize,
}

/// What the owner must do now, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Leave the loop for good.
    Kill,
    /// Complete the pending exit, then [`Member::park`] with this epoch.
    Pause {
        /// The request that is answered.
        epoch: u32,
    },
    /// Wait for the ticket that the last register write left.
    Ticket,
    /// [`Member::take`] it and act on it.
    OneShot(OneShot),
    /// Enter the guest.
    Enter,
}

/// How a park ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// Nobody holds the member any longer, or the request was taken back before it was answered.
    Resumed,
    /// The member was killed.
    Killed,
}

/// How a wait for a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The ticket is done; ACTIVATION_PENDING is cleared.
    Done(Outcome),
    /// A pause or kill request came first; the member still owes the wait.
    Interrupted,
}

impl Member {
    pub(crate) fn new(group: Arc<Group>, index: usize) -> Self {
        Self { group, index }
    }

    /// Its index in the group.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its word now.
    #[must_use]
    pub fn word(&self) -> Word {
        self.group.load(self.index)
    }

    /// Begins the loop, at the park if a pause is requested.
    ///
    /// # Errors
    /// The member was killed before it started, or its slot has a thread already.
    pub fn start(&mut self) -> Result<Parked, Illegal> {
        let change = self.group.apply(self.index, Event::Start)?;
        Ok(if change.new.any(Word::PARKED) { self.stay_parked() } else { Parked::Resumed })
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self) -> Step {
        let word = self.word();
        if word.any(Word::KILLED | Word::DEAD) {
            Step::Kill
        } else if word.any(Word::PAUSE_REQUESTED) {
            self.group.stamp_stopped(self.index);
            Step::Pause { epoch: word.epoch() }
        } else if word.any(Word::ACTIVATION_PENDING) {
            Step::Ticket
        } else if word.any(Word::NMI) {
            Step::OneShot(OneShot::Nmi)
        } else if word.any(Word::DEBUG_STOP) {
            Step::OneShot(OneShot::DebugStop)
        } else {
            Step::Enter
        }
    }

    /// Commits to enter the guest: from now on whoever asks for something kicks. The caller has
    /// cleared `immediate_exit` *before*, so that a kick after this call is not lost.
    ///
    /// # Errors
    /// Something was asked in the meantime: ask [`Member::next`] what.
    pub fn enter(&mut self) -> Result<(), Illegal> {
        self.group.apply(self.index, Event::Enter).map(drop)
    }

    /// Is back from the guest: from now on nobody kicks.
    pub fn leave(&mut self) {
        let left = self.group.apply(self.index, Event::Leave);
        debug_assert!(left.is_ok(), "left a guest that was not entered");
    }

    /// Publishes PAUSED in answer to the request with this epoch and waits until nobody holds the
    /// member. An answer to an older request is not one: it returns at once, and
    /// [`Member::next`] tells the newer.
    pub fn park(&mut self, epoch: u32) -> Parked {
        self.park_within(epoch, |stay| stay())
    }

    /// Like [`Member::park`], with the wait inside of `within`, which is called only after PAUSED was published: no
    /// pauser waits for what the thread arranges for its sleep. `within` returns what it was given to call returned.
    pub fn park_within(
        &mut self,
        epoch: u32,
        within: impl FnOnce(&mut dyn FnMut() -> Parked) -> Parked,
    ) -> Parked {
        // Before it is published, so that whoever sees the ack sees its time.
        self.group.stamp_parked(self.index);
        match self.group.apply(self.index, Event::AckPause { epoch }) {
            Ok(_) => within(&mut || self.stay_parked()),
            Err(Illegal::Killed | Illegal::Dead) => Parked::Killed,
            Err(_) => Parked::Resumed,
        }
    }

    /// The second half of [`Member::park`]: waits at the park until nobody holds the member.
    pub(crate) fn stay_parked(&mut self) -> Parked {
        loop {
            // The generation first, then the word: see the crate's "What waits on what".
            let generation = self.group.parking.load();
            match self.group.apply(self.index, Event::Unpark) {
                Ok(_) => {
                    self.group.stamp_unparked(self.index);
                    return Parked::Resumed;
                }
                Err(Illegal::Held) => self.group.parking.wait(generation, None),
                Err(_) => return Parked::Killed,
            }
        }
    }

    /// Consumes a one-shot; of all that try, for each time it was set, exactly one succeeds.
    pub fn take(&mut self, one_shot: OneShot) -> bool {
        self.group.apply(self.index, Event::Take(one_shot)).is_ok()
    }

    /// Notes that the last register write left a ticket, so that the member does not enter the guest
    /// before [`Member::wait_ticket`] has seen it done.
    ///
    /// # Errors
    /// There is one already, or the member is not between two entries.
    pub fn begin_ticket(&mut self) -> Result<(), Illegal> {
        self.group.apply(self.index, Event::BeginActivation).map(drop)
    }

    /// Waits for the ticket that was noted. A pause or kill request ends the wait at once and leaves
    /// the ticket owed: the caller waits again, for the same one, after the pause.
    pub fn wait_ticket(&mut self, ticket: &Ticket) -> Waited {
        loop {
            let generation = self.group.ticketing.load();
            if let Some(outcome) = ticket.outcome() {
                // Fails only where there is nothing to clear.
                let _ = self.group.apply(self.index, Event::EndActivation);
                return Waited::Done(outcome);
            }
            if self.word().any(Word::KILLED | Word::DEAD | Word::PAUSE_REQUESTED) {
                return Waited::Interrupted;
            }
            self.group.ticketing.wait(generation, None);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Fails only for a slot that is dead already.
        let _ = self.group.apply(self.index, Event::Die);
    }
}
