//! The thread that holds and lets go, and its handle.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::observe::{self, Stop};
use super::share::{Measured, Share};
use super::wake::Latency;
use super::{Controller, DutyCycle};
use crate::group::{Deadline, Group, PendingRange};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{Builder, JoinHandle};
use crate::word::Word;

/// What decides that the time of a half is over, and what the thread does first.
pub trait Pace: Send {
    /// Called on the throttle's thread before anything else: its scheduling class is the caller's business.
    fn begin(&mut self) {}

    /// Whether a half that is to last until `until` is over; both count from when the group was made.
    fn is_over(&mut self, now: Duration, until: Duration) -> bool {
        now >= until
    }

    /// How long at most to wait for acks, or `None` for ever: beyond it, it is left to the members to come,
    /// while the stop goes on.
    fn patience(&self, usual: Duration) -> Option<Duration> {
        Some(usual)
    }
}

/// Time as it passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Pace for WallClock {}

/// What the handle and the thread share.
#[derive(Debug)]
struct Control {
    duty: AtomicU64,
    ended: AtomicBool,
    measured: Measured,
}

/// A throttle in force. Dropping it ends it: nothing is held when the drop returns.
#[derive(Debug)]
#[must_use = "dropping it ends the throttle"]
pub struct Throttle {
    group: Arc<Group>,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    /// Throttles these members of the group; indices that it does not have are left out.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start(
        group: &Arc<Group>,
        members: Range<usize>,
        duty: DutyCycle,
        pace: impl Pace + 'static,
    ) -> io::Result<Self> {
        let control = Arc::new(Control {
            duty: AtomicU64::new(duty.to_bits()),
            ended: AtomicBool::new(false),
            measured: Measured::default(),
        });
        let end = members.end.min(group.len());
        let driver = Driver {
            group: Arc::clone(group),
            members: members.start.min(end)..end,
            control: Arc::clone(&control),
            controller: Controller::new(duty),
            wake: Latency::default(),
            way: Latency::default(),
            epoch: None,
            ran: None,
            pace,
        };
        let thread = Builder::new().name("throttle".to_owned()).spawn(move || driver.run())?;
        Ok(Self { group: Arc::clone(group), control, thread: Some(thread) })
    }

    /// Steers to another duty cycle, at once: the half that is in progress becomes one of that cycle.
    pub fn retune(&self, duty: DutyCycle) {
        // Release: pairs with the acquire in `Driver::nap`; the generation after it wakes the thread.
        self.control.duty.store(duty.to_bits(), Ordering::Release);
        self.group.remind();
    }

    /// What it steers to.
    #[must_use]
    pub fn duty(&self) -> DutyCycle {
        DutyCycle::from_bits(self.control.duty.load(Ordering::Acquire))
    }

    /// What it has come to so far.
    #[must_use]
    pub fn measured(&self) -> Share {
        self.control.measured.load()
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Release: pairs with the acquire in `Control::is_ended`.
        self.control.ended.store(true, Ordering::Release);
        self.group.remind();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the hook, and unwinding has let go.
            let _ = thread.join();
        }
    }
}

impl Control {
    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

struct Driver<P> {
    group: Arc<Group>,
    members: Range<usize>,
    control: Arc<Control>,
    controller: Controller,
    /// From being let go to having left the park.
    wake: Latency,
    /// From being asked to the park.
    way: Latency,
    /// Of the first member after this throttle's newest request.
    epoch: Option<u32>,
    /// For how long the members ran before this throttle's newest request, if nobody disturbed them.
    ran: Option<Duration>,
    pace: P,
}

/// Which half a nap is for.
#[derive(Clone, Copy)]
enum Half {
    Run,
    Stop,
}

impl<P: Pace> Driver<P> {
    fn run(mut self) {
        self.pace.begin();
        // When the members could run, and when they were let go, if by this throttle.
        let (mut free, mut let_go) = (self.group.elapsed(), None);
        while !self.control.is_ended() {
            let slept = self.nap(Half::Run, free);
            if self.control.is_ended() {
                return;
            }
            let asked = self.group.elapsed();
            let signalled = self.group.signal_range(self.members.clone(), Deadline::Never);
            let Ok(pending) = signalled else {
                // As many hold them as can be: they stand still without this throttle.
                (free, let_go) = (self.wait_free(), None);
                continue;
            };
            let control = Arc::clone(&self.control);
            // One that waits for a processor, to stop on it, must not make the stop of the others longer.
            let patience = self.pace.patience(self.controller.patience());
            pending.wait_unless(patience, || control.is_ended());
            let Stop { at, apart, way } = observe::stood_still(&self.group, &self.members, asked);
            self.controller.stopped_apart(apart);
            if let Some(way) = way {
                self.way.learn(way);
            }
            self.controller.ways(2 * self.way.usual());
            let still = at.saturating_sub(self.way.usual() / 2);
            if let Some(took) =
                let_go.and_then(|released| observe::woke(&self.group, &self.members, released))
            {
                self.wake.learn(took);
            }
            self.ran(slept, still.saturating_sub(free));
            let undisturbed = observe::epoch(&self.group, &self.members);
            (free, let_go) = self.stop(pending, still, undisturbed);
        }
    }

    /// The stopped half; gives when the members could run again.
    fn stop(
        &mut self,
        pending: PendingRange,
        still: Duration,
        undisturbed: Option<u32>,
    ) -> (Duration, Option<Duration>) {
        let slept = self.nap(Half::Stop, still);
        let resumed = pending.release();
        // Before the wake, which itself takes as long as a short stop where it has to interrupt an idle processor.
        let released = self.group.elapsed();
        drop(resumed);
        if self.is_held() || observe::epoch(&self.group, &self.members) != undisturbed {
            self.controller.stopped_disturbed();
            return (self.wait_free(), None);
        }
        let free = released + self.wake.usual() + self.way.usual() / 2;
        let stopped = free.saturating_sub(still);
        self.controller.stopped(slept, stopped);
        if let Some(ran) = self.ran {
            self.control.measured.add(ran, stopped);
        }
        (free, Some(released))
    }

    /// Accounts for a run. A new request of somebody else in between shows in the epoch.
    fn ran(&mut self, slept: Duration, running: Duration) {
        let epoch = observe::epoch(&self.group, &self.members);
        let expected = self.epoch.map(|before| before.wrapping_add(1));
        if expected.is_none() || expected == epoch {
            self.controller.ran(slept, running);
            self.ran = Some(running);
        } else {
            self.controller.ran_disturbed();
            self.ran = None;
        }
        self.epoch = epoch;
    }

    /// Sleeps until the half that began then is over, or the throttle ends; gives how long it was to last.
    fn nap(&mut self, half: Half, begun: Duration) -> Duration {
        loop {
            // The generation first, then what it is about: a change in between moves the generation.
            let seen = self.group.news.load();
            // Acquire: pairs with `Throttle::retune`.
            let duty = DutyCycle::from_bits(self.control.duty.load(Ordering::Acquire));
            self.controller.retune(duty);
            let length = match half {
                Half::Run => self.controller.run_for(),
                Half::Stop => self.controller.stop_for(),
            };
            let (now, until) = (self.group.elapsed(), begun.saturating_add(length));
            if self.control.is_ended() || self.pace.is_over(now, until) {
                return length;
            }
            self.group.news.wait(seen, Some(until.saturating_sub(now)));
        }
    }

    /// Waits until nobody holds the members, or the throttle ends; gives when that was.
    fn wait_free(&mut self) -> Duration {
        let control = Arc::clone(&self.control);
        self.group.wait_free(self.members.clone(), || control.is_ended());
        self.epoch = observe::epoch(&self.group, &self.members);
        self.group.elapsed()
    }

    fn is_held(&self) -> bool {
        let held = |member| self.group.load(member).any(Word::PAUSE_REQUESTED);
        self.members.clone().any(held)
    }
}
