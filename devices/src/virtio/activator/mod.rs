//! The activator: one thread that makes and ends the workers of every device.
//!
//! ```text
//!   vCPU ──DRIVER_OK, reset──▶ device's word ──WorkItem──▶ bell ──▶ ActivatorThread::run
//!                                                                      │ for every device: a round
//!                        Activating: check queues, VirtioDevice::activate, seat the workers ◀─┤
//!                        Resetting:  kill and join the workers, VirtioDevice::reset, clear ◀──┘
//!                                                                      │
//!   vCPU goes on ◀──────────────── ticket ◀──────── the round ends ◀───┘
//! ```
//!
//! Nobody can take a device away from it and it waits for no vCPU, pauser or manager, so a vCPU's wait ends, whoever
//! owns the VM's objects meanwhile.
//!
//! Invariants:
//! - A round ends on every path; a panic of the device's code included, which breaks that device and no other.
//! - Between an activation and the end of the next reset a device has its workers' threads and seats; outside
//!   of that, none.
//! - Whoever stops it waits for its end only as long as it likes: a device's code that never comes back keeps nobody else.
//! - A device's code is called by this thread for one device at a time: a slow one delays other activations and resets, and
//!   nothing else; no pause waits for it.
//! - While the workers are held, nothing of what this thread does can be seen: every step that the guest, a worker or a ticket
//!   would tell of is taken in a turn ([`turn`]), and those wait for the resume.

mod round;
mod seats;
#[cfg(test)]
mod tests;
mod turn;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use vcpu_state::sync::FutexWord;
use vcpu_state::{Attendant, Group, Member, WorkItem};

use super::registers::Registers;
use crate::event::Event;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use round::Served;
use seats::{Names, Running, Seats};
use turn::{Desk, Stopped};

/// The end of those who have devices to be served. Its drop leaves the thread running.
pub struct Activator {
    shared: Arc<Shared>,
    vcpus: Arc<Group>,
    workers: Arc<Group>,
    names: Names,
    /// The member of the workers' group that is this thread's turns.
    desk: usize,
}

/// The end of the thread.
pub struct ActivatorThread {
    shared: Arc<Shared>,
    seats: Seats,
    desk: Desk,
    served: Vec<Served>,
    /// Workers that belong to no virtio device.
    employed: Vec<Running>,
}

/// Who the members of the workers' group are.
#[derive(Clone)]
pub struct WorkerNames {
    names: Names,
    desk: usize,
}

impl WorkerNames {
    /// Who a member is, or was last: a device's worker (`disk0-q0`), or the activator.
    #[must_use]
    pub fn of(&self, member: usize) -> String {
        let worker = || self.names.of(member).map(|name| name.to_string());
        if member == self.desk { Some("activator".to_owned()) } else { worker() }
            .unwrap_or_else(|| format!("worker {member}"))
    }
}

struct Shared {
    /// Advanced by every request, arrival, and the stop.
    bell: Arc<FutexWord>,
    arrivals: SegQueue<Served>,
    /// How many have arrived. It orders an arrival with who takes it, as the queue does, and a model checker sees it.
    arrived: AtomicU64,
    stop: AtomicBool,
    /// 1 when the thread has ended and every worker has.
    ended: FutexWord,
}

/// What has become of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivatorEnd {
    /// It has ended; joining it takes no time.
    Ended,
    /// It is in a device's code still.
    Held,
}

impl Activator {
    /// One whose tickets members of `vcpus` wait for, with room for so many workers at a time.
    #[must_use]
    pub fn new(vcpus: &Arc<Group>, seats: usize) -> (Self, ActivatorThread) {
        let shared = Arc::new(Shared {
            bell: Arc::new(FutexWord::new(0)),
            arrivals: SegQueue::new(),
            arrived: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ended: FutexWord::new(0),
        });
        let seats = Seats::new(seats);
        let workers = Arc::clone(seats.group());
        let (names, desk) = (seats.names(), seats.desk());
        let thread = ActivatorThread {
            desk: Desk::new(&workers, desk, &shared),
            shared: Arc::clone(&shared),
            seats,
            served: Vec::new(),
            employed: Vec::new(),
        };
        (Self { shared, vcpus: Arc::clone(vcpus), workers, names, desk }, thread)
    }

    /// The workers of all devices, which a VM pause has to hold, and after them one member for the steps of this thread that a
    /// guest can see.
    #[must_use]
    pub fn workers(&self) -> &Arc<Group> {
        &self.workers
    }

    /// Who a member of that group is, or was last: a device's worker (`disk0-q0`), or the activator.
    #[must_use]
    pub fn name_of(&self, member: usize) -> String {
        self.names().of(member)
    }

    /// What tells that without the activator.
    #[must_use]
    pub fn names(&self) -> WorkerNames {
        WorkerNames { names: self.names.clone(), desk: self.desk }
    }

    /// Makes the thread end: every worker of every device ends, and whoever waits for a ticket is told that it
    /// failed. The caller joins the thread.
    pub fn stop(&self) {
        self.shared.close();
        // After the flag: see `turn`.
        self.workers.kill(self.desk);
        self.shared.bell.advance();
    }

    /// After [`Activator::stop`]: waits until the thread has ended, or not longer than this. A device's code may keep it for as
    /// long as it likes, and what it does then concerns nobody any more: whoever ends a VM need not wait for that.
    #[must_use]
    pub fn wait_end(&self, limit: Duration) -> ActivatorEnd {
        let begun = Instant::now();
        loop {
            if self.shared.ended.load() != 0 {
                return ActivatorEnd::Ended;
            }
            let Some(rest) = limit.checked_sub(begun.elapsed()) else { return ActivatorEnd::Held };
            self.shared.ended.wait(0, Some(rest));
        }
    }

    /// An item that rings this thread's bell.
    pub(super) fn work_item(&self) -> (WorkItem, Attendant) {
        WorkItem::new(&self.vcpus, &self.shared.bell)
    }

    /// Serves a device from now on, until it is removed.
    pub(super) fn serve(&self, registers: &Arc<Registers>, attendant: Attendant) {
        self.shared.arrivals.push(Served::new(Arc::clone(registers), attendant));
        // Release: pairs with the acquire in `take`.
        self.shared.arrived.fetch_add(1, Ordering::AcqRel);
        self.shared.bell.advance();
        // A read-modify-write: either it sees the stop, or the thread, which sees the stop, sees the arrival.
        if self.shared.stop.fetch_or(false, Ordering::AcqRel) {
            self.shared.turn_away();
        }
    }
}

impl Shared {
    /// From now on nobody is served.
    fn close(&self) {
        // AcqRel: pairs with the loads in `run` and `Desk::take`, and the read-modify-write in `serve`.
        self.stop.swap(true, Ordering::AcqRel);
    }

    /// Those who have arrived since the last call.
    fn take(&self, served: &mut Vec<Served>) {
        // Acquire: pairs with the release in `serve`. Each of these has been pushed before it was counted.
        for _ in 0..self.arrived.swap(0, Ordering::AcqRel) {
            served.extend(self.arrivals.pop());
        }
    }

    /// Drops those who came too late, which fails their tickets.
    fn turn_away(&self) {
        while self.arrivals.pop().is_some() {}
    }
}

impl ActivatorThread {
    /// Gives the thread of something that is no virtio device a seat among the workers: what holds them holds it. `run`
    /// gets its member and what kicks it. It is killed and joined when this thread ends.
    ///
    /// # Errors
    /// There is no seat, or the host has no thread or descriptor left.
    pub fn employ(
        &mut self,
        name: &str,
        run: impl FnOnce(Member, Arc<Event>) + Send + 'static,
    ) -> io::Result<()> {
        self.employed.push(self.seats.seat(name, run).map_err(io::Error::other)?);
        Ok(())
    }

    /// Serves, until [`Activator::stop`]. For a thread of its own, which may block.
    ///
    /// On every way out, a panic included, workers end and tickets fail: by its drop.
    pub fn run(mut self) {
        loop {
            // The generation first, then what it tells of: a ring in between moves the generation.
            let seen = self.shared.bell.load();
            self.shared.take(&mut self.served);
            // Acquire: pairs with the release in `close`.
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            let mut worked = false;
            for device in &mut self.served {
                match device.round(&mut self.seats, &self.desk) {
                    Ok(did) => worked |= did,
                    Err(Stopped) => return,
                }
            }
            self.served.retain(|device| !device.is_gone());
            if !worked {
                self.shared.bell.wait(seen, None);
            }
        }
    }
}

impl Drop for ActivatorThread {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.turn_away();
        for device in &mut self.served {
            device.end_workers(&mut self.seats);
        }
        self.seats.kill(&self.employed);
        self.seats.join(&mut self.employed);
        // What is left of the devices goes with the thread's last instructions, which its joiner waits for.
        self.shared.ended.advance();
    }
}
