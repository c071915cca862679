//! The loop of a worker's thread: the protocol of a vCPU, with the poll in place of the guest.
//!
//! ```text
//!   start ─▶ every doorbell counts as rung
//!     │
//!     ▼        Enter                           something pending
//!   next() ────────────▶ pending wakeups? ─────────────────────────▶ handle one ──▶ next()
//!     │ ▲                     │ none
//!     │ │                     └─▶ member.enter ─▶ sleep in the poll ─▶ member.leave ──▶ next()
//!     │ │ resume: every doorbell counts as rung
//!     │ └───────────────── parked ◀── positions published ◀── drain
//!     │ Pause                                                   ▲
//!     ├─────────────────────────────────────────────────────────┘
//!     └ Kill ─▶ drain ─▶ end
//!
//!   an error or a panic ─▶ drop the worker ─▶ the device's word: WorkerDied ─▶ the member is DEAD
//! ```
//!
//! Invariants:
//! - While the member is PAUSED the worker has drained, and nothing of it runs.
//! - No doorbell is lost: an event is cleared before its queue is handled, what was taken from the poll and not yet handled
//!   is kept, and after each park every queue is looked at.
//! - A kick is not lost: it is cleared before the word is looked at, and whoever asks kicks after changing it.
//! - A queue that its driver resets is let go of after a drain, by the thread that has it, when its doorbell is handled: no pause
//!   and no vCPU waits for that.
//! - The worker is gone, and its device's word says why, before the member is DEAD. So a pause, which a DEAD member
//!   does not hold up, finds neither a request in flight nor a device that does not tell.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vcpu_state::{Member, Parked, Step};

use super::lifecycle::Cause;
use super::queue_registers::QueueFault;
use super::queue_reset::{Drained, change_ring};
use super::registers::Registers;
use super::sources::{Kicked, Sources};
use super::worker::{Listening, Progress, Wakeup, Worker, WorkerError};
use crate::event::Event;

/// A worker with its thread's place in the group.
pub(super) struct Seated {
    pub(super) member: Member,
    pub(super) kick: Arc<Event>,
    pub(super) worker: Box<dyn Worker>,
    pub(super) registers: Arc<Registers>,
    /// The activation that made it.
    pub(super) generation: u32,
}

/// Why a worker ended before it was killed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Death {
    #[error(transparent)]
    Error(#[from] WorkerError),
    #[error("it panicked: {0}")]
    Panic(String),
    #[error("queue {queue}, enabled again: {fault}")]
    Queue { queue: u16, fault: QueueFault },
}

impl Death {
    const fn cause(&self) -> Cause {
        match self {
            Self::Error(WorkerError::Malformed(_)) => Cause::Malformed,
            Self::Error(WorkerError::Host { .. }) => Cause::Host,
            Self::Panic(_) => Cause::Panic,
            Self::Queue { .. } => Cause::Queue,
        }
    }
}

impl Seated {
    /// The thread, from its first instruction to its last.
    pub(super) fn run(self) {
        let Self { mut member, kick, mut worker, registers, generation } = self;
        let queues = guarded(|| Ok(worker.queues().iter().map(|queue| queue.index()).collect()));
        let queues: Vec<u16> = queues.unwrap_or_default();
        let mut ended = live(&mut member, &kick, &mut *worker, &registers);
        if matches!(ended, Err(Death::Error(_) | Death::Queue { .. })) {
            // What is in flight of one that cannot go on must not come in later.
            let _ = guarded(|| worker.drain());
        }
        let dropped = guarded(|| {
            drop(worker);
            Ok(())
        });
        for queue in queues {
            // It has no ring of them any more: who waits for its reset need not.
            if let Some(queue) = registers.queues().get(usize::from(queue)) {
                queue.orphan();
            }
        }
        // The first thing that went wrong is the one to be told.
        ended = ended.and(dropped);
        if let Err(death) = ended {
            let name = registers.device().name();
            tracing::warn!(device = name, %death, "a worker has ended, the device needs a reset");
            registers.worker_died(generation, death.cause());
        }
        // The last: whoever sees the member DEAD sees all of that.
        drop(member);
    }
}

/// The loop, until the member is killed or the worker cannot go on.
fn live(
    member: &mut Member,
    kick: &Event,
    worker: &mut dyn Worker,
    registers: &Registers,
) -> Result<(), Death> {
    // Killed before it began: it has touched nothing.
    if member.start() != Ok(Parked::Resumed) {
        return Ok(());
    }
    let mut pending = Pending::of(worker, kick)?;
    guarded(|| worker.start(&mut Listening { sources: &mut pending.sources }))?;
    loop {
        match member.next() {
            Step::Kill => return guarded(|| worker.drain()),
            Step::Pause { epoch } => {
                guarded(|| {
                    worker.drain()?;
                    publish_positions(worker, registers);
                    Ok(())
                })?;
                if member.park(epoch) == Parked::Killed {
                    // It has drained.
                    return Ok(());
                }
                pending.ring_all();
            }
            // A device's worker has no use for them: consumed, as by a vCPU.
            Step::OneShot(one_shot) => drop(member.take(one_shot)),
            Step::Enter | Step::Ticket => pending.serve(member, kick, worker, registers)?,
        }
    }
}

/// What a worker has yet to be called for.
struct Pending {
    sources: Sources,
    wakeups: VecDeque<Wakeup>,
    again: Progress,
    doorbells: Vec<(u16, Arc<Event>)>,
}

impl Pending {
    fn of(worker: &mut dyn Worker, kick: &Event) -> Result<Self, Death> {
        guarded(|| {
            let mut sources = Sources::new(kick).map_err(host("make an epoll instance"))?;
            let queues = worker.queues();
            let doorbells: Vec<_> =
                queues.iter().map(|queue| (queue.index(), Arc::clone(queue.doorbell()))).collect();
            for (queue, doorbell) in &doorbells {
                sources.add_doorbell(doorbell, *queue).map_err(host("listen to a doorbell"))?;
            }
            let wakeups = VecDeque::new();
            let mut pending = Self { sources, wakeups, again: Progress::Idle, doorbells };
            pending.ring_all();
            Ok(pending)
        })
    }

    /// Every queue is to be looked at, as if its doorbell had rung.
    fn ring_all(&mut self) {
        self.wakeups.retain(|wakeup| !matches!(wakeup, Wakeup::Doorbell(_)));
        self.wakeups.extend(self.doorbells.iter().map(|(queue, _)| Wakeup::Doorbell(*queue)));
    }

    /// Handles one wakeup, or gets some, asleep if there is nothing to be done.
    fn serve(
        &mut self,
        member: &mut Member,
        kick: &Event,
        worker: &mut dyn Worker,
        registers: &Registers,
    ) -> Result<(), Death> {
        if let Some(wakeup) = self.wakeups.pop_front() {
            return self.handle(wakeup, worker, registers);
        }
        let kicked = if self.again == Progress::More {
            // Others first, then again: neither may starve.
            self.again = Progress::Idle;
            let kicked = self.sources.wait(false, &mut self.wakeups);
            self.wakeups.push_back(Wakeup::Again);
            kicked
        } else if member.enter().is_ok() {
            let kicked = self.sources.wait(true, &mut self.wakeups);
            member.leave();
            kicked
        } else {
            // Something has been asked: the loop looks what.
            return Ok(());
        };
        if kicked.map_err(host("poll"))? == Kicked::Yes {
            // Before the word is looked at: a later kick stays.
            kick.clear();
        }
        Ok(())
    }

    fn handle(
        &mut self,
        wakeup: Wakeup,
        worker: &mut dyn Worker,
        registers: &Registers,
    ) -> Result<(), Death> {
        if let Wakeup::Doorbell(rung) = wakeup
            && let Some((_, doorbell)) = self.doorbells.iter().find(|(queue, _)| *queue == rung)
        {
            // Before the ring is looked at: a later notification stays.
            doorbell.clear();
            if let Some(rings) = registers.queues().get(usize::from(rung))
                && change_ring(rung, rings, worker, registers)? == Drained::Yes
            {
                // As after a pause: whatever the drain has left undone is looked at.
                self.ring_all();
                return Ok(());
            }
        }
        let listening = &mut Listening { sources: &mut self.sources };
        if guarded(|| worker.handle(wakeup, listening))? == Progress::More {
            self.again = Progress::More;
        }
        Ok(())
    }
}

/// Where a still worker stands in its queues, for whoever looks while it is still.
fn publish_positions(worker: &mut dyn Worker, registers: &Registers) {
    for queue in worker.queues() {
        if let Some(published) = registers.queues().get(usize::from(queue.index())) {
            published.set_position(queue.position());
        }
    }
}

/// Calls the device's code; its panic is an error like others.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, WorkerError>) -> Result<T, Death> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(panic) => Err(Death::Panic(message(&*panic))),
    }
}

/// What a panic says.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

fn host(what: &'static str) -> impl FnOnce(io::Error) -> WorkerError {
    move |source| WorkerError::Host { what, source }
}
