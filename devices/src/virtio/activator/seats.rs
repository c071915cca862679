//! Places in the lifecycle group of the workers, and the threads that take them.
//!
//! ```text
//!   free ──take──▶ taken (a Member, a kick) ──spawn──▶ thread ──join──▶ give back ─▶ reincarnated, free
//! ```
//!
//! The activator alone takes and gives back, so the list needs no lock. A seat's kick is made when it is first
//! taken: most VMs have few workers.

use std::io;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use vcpu_state::sync::thread;
use vcpu_state::{Group, Kick, Member};

use crate::event::Event;

/// Members that are no worker's: the desk's ([`super::turn`]), after all others.
const DESK: usize = 1;

/// Every seat, and those that are free.
pub(super) struct Seats {
    group: Arc<Group>,
    kicks: Arc<Kicks>,
    free: Vec<usize>,
}

/// A worker's thread in its seat.
pub(super) struct Running {
    seat: usize,
    thread: thread::JoinHandle<()>,
}

/// No worker can be seated.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSeat {
    #[error("every worker's seat is taken")]
    Full,
    #[error("cannot {what}: {source}")]
    Host { what: &'static str, source: io::Error },
}

/// What can be known of a seat from outside.
#[derive(Default)]
struct Seat {
    kick: OnceLock<Arc<Event>>,
    /// Who sits there, or did last.
    name: ArcSwapOption<String>,
}

/// A kick for each seat, and a name.
struct Kicks(Box<[Seat]>);

/// Who sits where, for messages.
#[derive(Clone)]
pub(super) struct Names(Arc<Kicks>);

impl Names {
    /// Who sits in a seat, or did last.
    pub(super) fn of(&self, seat: usize) -> Option<Arc<String>> {
        self.0.0.get(seat)?.name.load_full()
    }
}

/// The group's handle on them.
struct KickHandle(Arc<Kicks>);

impl Kick for KickHandle {
    fn kick(&self, member: usize) {
        // A member that is in its poll has one.
        if let Some(kick) = self.0.0.get(member).and_then(|seat| seat.kick.get()) {
            kick.notify();
        }
    }
}

impl Seats {
    pub(super) fn new(count: usize) -> Self {
        let kicks = Arc::new(Kicks((0..count).map(|_| Seat::default()).collect()));
        // The last one is the desk. Nobody is in a poll there, so it needs no kick.
        let group = Group::new(count + DESK, Box::new(KickHandle(Arc::clone(&kicks))));
        // The lowest index is taken first.
        Self { group, kicks, free: (0..count).rev().collect() }
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// The member that is the desk's.
    pub(super) fn desk(&self) -> usize {
        self.kicks.0.len()
    }

    pub(super) fn names(&self) -> Names {
        Names(Arc::clone(&self.kicks))
    }

    /// Starts a thread in a free seat: `run` gets the member and what kicks it.
    pub(super) fn seat(
        &mut self,
        name: &str,
        run: impl FnOnce(Member, Arc<Event>) + Send + 'static,
    ) -> Result<Running, NoSeat> {
        let seat = *self.free.last().ok_or(NoSeat::Full)?;
        let kick = self.kick_of(seat)?;
        // Every seat on the free list is a new incarnation without an owner.
        let member = self.group.member(seat).ok_or(NoSeat::Full)?;
        self.free.pop();
        if let Some(seat) = self.kicks.0.get(seat) {
            seat.name.store(Some(Arc::new(name.to_owned())));
        }
        let host = |source| NoSeat::Host { what: "start a thread", source };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || run(member, kick));
        match spawned {
            Ok(thread) => Ok(Running { seat, thread }),
            Err(error) => {
                // The member went with the closure, so the seat is dead.
                self.give_back(seat);
                Err(host(error))
            }
        }
    }

    /// Has workers end.
    pub(super) fn kill(&self, workers: &[Running]) {
        for worker in workers {
            self.group.kill(worker.seat);
        }
    }

    /// Waits for the end of workers that were killed.
    pub(super) fn join(&mut self, workers: &mut Vec<Running>) {
        for worker in workers.drain(..) {
            // A thread that panicked has published its end like any other, by the drop of its member.
            let _ = worker.thread.join();
            self.give_back(worker.seat);
        }
    }

    fn kick_of(&self, seat: usize) -> Result<Arc<Event>, NoSeat> {
        let kick = &self.kicks.0.get(seat).ok_or(NoSeat::Full)?.kick;
        if kick.get().is_none() {
            let host = |source| NoSeat::Host { what: "make an eventfd", source };
            // Only this thread sets it.
            let _ = kick.set(Arc::new(Event::new().map_err(host)?));
        }
        kick.get().cloned().ok_or(NoSeat::Full)
    }

    fn give_back(&mut self, seat: usize) {
        // It fails only for a seat that is not dead, and that one must not be used again.
        if self.group.reincarnate(seat).is_ok() {
            self.free.push(seat);
        }
    }
}
