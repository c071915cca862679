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
//!   nothing else; no pause waits for this thread.

mod round;
mod seats;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use vcpu_state::sync::FutexWord;
use vcpu_state::{Attendant, Group, WorkItem};

use super::registers::Registers;
use crate::sync::atomic::{AtomicBool, Ordering};
use round::Served;
use seats::Seats;

/// The end of those who have devices to be served. Its drop leaves the thread running.
pub struct Activator {
    shared: Arc<Shared>,
    vcpus: Arc<Group>,
    workers: Arc<Group>,
}

/// The end of the thread.
pub struct ActivatorThread {
    shared: Arc<Shared>,
    seats: Seats,
    served: Vec<Served>,
}

struct Shared {
    /// Advanced by every request, arrival, and the stop.
    bell: Arc<FutexWord>,
    arrivals: SegQueue<Served>,
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
            stop: AtomicBool::new(false),
            ended: FutexWord::new(0),
        });
        let seats = Seats::new(seats);
        let workers = Arc::clone(seats.group());
        let thread = ActivatorThread { shared: Arc::clone(&shared), seats, served: Vec::new() };
        (Self { shared, vcpus: Arc::clone(vcpus), workers }, thread)
    }

    /// The workers of all devices, which a VM pause has to hold.
    #[must_use]
    pub fn workers(&self) -> &Arc<Group> {
        &self.workers
    }

    /// Makes the thread end: every worker of every device ends, and whoever waits for a ticket is told that it
    /// failed. The caller joins the thread.
    pub fn stop(&self) {
        // Release: pairs with the acquire in `run`.
        self.shared.stop.store(true, Ordering::Release);
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
        self.shared.bell.advance();
    }
}

impl ActivatorThread {
    /// Serves, until [`Activator::stop`]. For a thread of its own, which may block.
    pub fn run(mut self) {
        loop {
            // The generation first, then what it tells of: a ring in between moves the generation.
            let seen = self.shared.bell.load();
            while let Some(device) = self.shared.arrivals.pop() {
                self.served.push(device);
            }
            // Acquire: pairs with the release in `stop`.
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            let mut worked = false;
            for device in &mut self.served {
                worked |= device.round(&mut self.seats);
            }
            self.served.retain(|device| !device.is_gone());
            if !worked {
                self.shared.bell.wait(seen, None);
            }
        }
        for device in &mut self.served {
            device.end_workers(&mut self.seats);
        }
        let shared = Arc::clone(&self.shared);
        // With the devices: who waits for the thread's end finds nothing left of them.
        drop(self);
        shared.ended.advance();
    }
}
