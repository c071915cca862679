//! A model vCPU thread: production's run loop, with a script in place of a guest.
//!
//! The guest exits once for each handler of its script, in order, and then halts for good. While the
//! thread does anything that a pause must exclude (guest, exit handling, completion) its two activity
//! counters differ; a pauser that finds them equal knows that it is still *and* sees all it did.

use std::sync::Arc;

use vcpu_state::{Member, OneShot, Outcome, Parked, Step, Ticket, Waited};

use crate::checker::atomic::{AtomicU64, Ordering};
use crate::kvm::{Exit, Guest, Kvm};

/// What handling an exit asks of the loop.
#[derive(Debug)]
pub enum Handled {
    /// Go on.
    Done,
    /// A register write left a ticket: wait for it before the next entry.
    Wait(Ticket),
    /// The thread cannot go on, as after a triple fault or a failing KVM_RUN.
    Fail,
}

/// Handles one exit of the script.
pub type Handler = Box<dyn FnOnce() -> Handled + Send>;

/// What the thread reports when it ends.
#[derive(Debug, Default)]
pub struct Report {
    /// Non-maskable interrupts that were injected.
    pub nmis: u32,
    /// Stops that were shown to the debugger.
    pub debug_stops: u32,
    /// How each ticket that was waited for to its end came out.
    pub outcomes: Vec<Outcome>,
    /// Exits of the script that were handled.
    pub exits: usize,
}

/// Counts what the thread does, for pausers to look at.
#[derive(Debug)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    /// Nothing done yet.
    pub fn new() -> Self {
        Self { begun: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Does something that a pause must exclude.
    ///
    /// Relaxed throughout: it is the lifecycle word that must order these, and the models show it.
    pub fn during<R>(&self, act: impl FnOnce() -> R) -> R {
        let n = self.begun.load(Ordering::Relaxed) + 1;
        self.begun.store(n, Ordering::Relaxed);
        let result = act();
        self.ended.store(n, Ordering::Relaxed);
        result
    }

    /// Whether the thread stands still, as far as the caller can see.
    pub fn is_still(&self) -> bool {
        let ended = self.ended.load(Ordering::Relaxed);
        self.begun.load(Ordering::Relaxed) == ended
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// One vCPU thread's state.
pub struct Vcpu {
    /// The owner's end of its word.
    pub member: Member,
    /// The kernel.
    pub kvm: Arc<Kvm>,
    /// What pausers look at.
    pub activity: Arc<Activity>,
    /// The guest.
    pub script: std::vec::IntoIter<Handler>,
    /// The one-shot that ends the thread when it has been taken.
    pub until: Option<OneShot>,
}

impl Vcpu {
    /// The thread, from its first instruction to its last. Dropping the member at its end, and on
    /// every other way out, publishes DEAD.
    ///
    /// # Panics
    /// The word says that a ticket is owed where none is, or the other way round.
    pub fn run(mut self) -> Report {
        let mut report = Report::default();
        let mut ticket: Option<Ticket> = None;
        if self.member.start() != Ok(Parked::Resumed) {
            return report;
        }
        loop {
            match self.member.next() {
                Step::Kill => return report,
                Step::Pause { epoch } => {
                    self.complete();
                    self.kvm.stand_still(self.member.index());
                    if self.member.park(epoch) == Parked::Resumed {
                        self.kvm.tell_clock(self.member.index());
                    }
                }
                Step::Ticket => {
                    let Some(owed) = &ticket else {
                        panic!("ACTIVATION_PENDING without a ticket: {:?}", self.member.word())
                    };
                    if let Waited::Done(outcome) = self.member.wait_ticket(owed) {
                        report.outcomes.push(outcome);
                        ticket = None;
                    }
                }
                Step::OneShot(one_shot) => {
                    if self.member.take(one_shot) {
                        match one_shot {
                            OneShot::Nmi => report.nmis += 1,
                            OneShot::DebugStop => report.debug_stops += 1,
                        }
                        if self.until == Some(one_shot) {
                            return report;
                        }
                    }
                }
                Step::Enter => match self.enter(&mut report) {
                    Handled::Done => {}
                    Handled::Fail => return report,
                    Handled::Wait(owed) => {
                        ticket = Some(owed);
                        let begun = self.member.begin_ticket();
                        assert_eq!(begun, Ok(()), "a ticket could not be noted");
                    }
                },
            }
        }
    }

    /// One entry and the handling of its exit, unless something was asked for in the meantime.
    fn enter(&mut self, report: &mut Report) -> Handled {
        let index = self.member.index();
        // The last place at which a delivery is undone by the next line. One before it, or one between
        // the next line and the ioctl, comes to the same as one here or as one in `run`.
        self.kvm.user_mode(index);
        // Before the word is read again, so that no later kick is undone.
        self.kvm.set_immediate_exit(index, false);
        if self.member.enter().is_err() {
            return Handled::Done;
        }
        let activity = Arc::clone(&self.activity);
        activity.during(|| {
            let guest = if self.script.len() > 0 { Guest::Exits } else { Guest::Halts };
            let exit = self.kvm.run(index, guest);
            self.member.leave();
            match exit {
                Exit::Interrupted => Handled::Done,
                Exit::Io => {
                    report.exits += 1;
                    self.script.next().map_or(Handled::Done, |handler| handler())
                }
            }
        })
    }

    /// Lets KVM finish the last exit without entering the guest.
    fn complete(&mut self) {
        let index = self.member.index();
        if self.kvm.is_incomplete(index) {
            self.activity.during(|| {
                self.kvm.set_immediate_exit(index, true);
                self.kvm.run(index, Guest::Halts)
            });
        }
    }
}
