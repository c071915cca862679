//! How long each half is to be, from what the halves before came to. Pure: no clock, no thread.
//!
//! # The balance
//!
//! With a share *p* to be stopped, a run of *r* earns *p·r* of stopping, and a stop of *s* pays *(1-p)·s*. What is
//! owed is the sum of both over all halves, as they were measured: where it stays bounded, the share tends to
//! *p*, whatever the halves were. So a stop lasts for what is owed divided by *1-p*, and a run as long as earns
//! the next stop of the usual length.
//!
//! # Lateness
//!
//! A half takes longer than what is slept for it: timers are late, members take time to stop and to
//! start. How much longer is learnt, slept less, and is also the shortest that a half can be; where that is more
//! than the duty cycle has for it, the other half becomes longer instead.
//!
//! # Resolution
//!
//! All members are let go at once, but they do not stop at once: one that is on its way out of a guest for longer than another is held
//! for less, in every cycle. What is kept is the mean, and so that each of them is near it, a cycle is long against that difference.
//!
//! # Ways
//!
//! On its way out of the guest and into it again a member neither works nor sleeps. Half of both ways counts as stopped, so
//! that the guest loses as much more than the set point as the scheduler sees its vCPU sleep less; that both be near it, a cycle
//! is long against the ways. (Only the way out can be seen; the way in is taken to be as long.)

use std::time::Duration;

use super::DutyCycle;

/// A stop may be longer than usual by this much, in seconds: more would wake the guest's watchdogs.
const LONGEST_CORRECTION: f64 = 0.02;
/// A run may be longer than usual by this much, in seconds: a long stop must be made up for.
const LONGEST_GRACE: f64 = 1.0;
/// What is owed is forgotten beyond this, in seconds of either half: the host itself stood still.
const LONGEST_MEMORY: f64 = 1.0;

/// Members are waited for at least so long, in seconds.
const PATIENCE: f64 = 200e-6;

/// Cycles are at least so many times as long as members stop apart from each other: the first and the last are half of that from
/// their mean, so a hundredth of the cycle.
const RESOLUTION: f64 = 50.0;

/// Cycles are at least so many times as long as the ways out and in take: half of them is a hundredth of the cycle.
const WAYS: f64 = 50.0;

/// Decides the lengths of halves.
#[derive(Clone, Debug)]
pub struct Controller {
    duty: DutyCycle,
    /// Seconds of stopping that are owed, times `1 - p`.
    owed: f64,
    stop: Lateness,
    run: Lateness,
    /// How far apart members stop.
    apart: Lateness,
    /// What the ways out and in take, in seconds.
    ways: f64,
}

impl Controller {
    /// Owing nothing.
    #[must_use]
    pub fn new(duty: DutyCycle) -> Self {
        let [stop, run, apart] = [Lateness(0.0); 3];
        Self { duty, owed: 0.0, stop, run, apart, ways: 0.0 }
    }

    /// Steers to another duty cycle from now on. What has been learnt of the host is kept.
    pub fn retune(&mut self, duty: DutyCycle) {
        if duty != self.duty {
            (self.duty, self.owed) = (duty, 0.0);
        }
    }

    /// What it steers to.
    #[must_use]
    pub fn duty(&self) -> DutyCycle {
        self.duty
    }

    /// How long to sleep in a run that begins now, counted from when the members could run and half of their way was done.
    #[must_use]
    pub fn run_for(&self) -> Duration {
        duration(self.run.sleep(self.wanted_run()))
    }

    /// How long to sleep in a stop that begins now, counted from when half of the members' way was done.
    #[must_use]
    pub fn stop_for(&self) -> Duration {
        duration(self.stop.sleep(self.wanted_stop()))
    }

    /// How long to wait for members that were asked to stop: the stop itself, and a few times what it usually
    /// takes them.
    #[must_use]
    pub fn patience(&self) -> Duration {
        duration(self.wanted_stop().max(0.0) + PATIENCE + 2.0 * self.run.0)
    }

    /// The members ran for so long, after `slept` was slept.
    pub fn ran(&mut self, slept: Duration, measured: Duration) {
        self.run.learn(measured.as_secs_f64() - slept.as_secs_f64());
        self.owe(self.duty.share() * measured.as_secs_f64());
    }

    /// The last of them stood still so long after the first.
    pub fn stopped_apart(&mut self, apart: Duration) {
        self.apart.learn(apart.as_secs_f64());
    }

    /// The ways out of the guest and into it usually take so long together.
    pub fn ways(&mut self, both: Duration) {
        self.ways = both.as_secs_f64();
    }

    /// They stood still for so long, after `slept` was slept.
    pub fn stopped(&mut self, slept: Duration, measured: Duration) {
        self.stop.learn(measured.as_secs_f64() - slept.as_secs_f64());
        self.owe((self.duty.share() - 1.0) * measured.as_secs_f64());
    }

    /// A run during which somebody else held the members: as if it had been what it should have.
    pub fn ran_disturbed(&mut self) {
        self.owe(self.duty.share() * self.wanted_run());
    }

    /// A stop during which somebody else held them, too.
    pub fn stopped_disturbed(&mut self) {
        self.owe((self.duty.share() - 1.0) * self.wanted_stop());
    }

    fn wanted_run(&self) -> f64 {
        let (share, (run, stop)) = (self.duty.share(), self.usual());
        let wanted = ((1.0 - share) * stop - self.owed) / share;
        wanted.clamp(self.run.0, run + run.max(LONGEST_GRACE))
    }

    fn wanted_stop(&self) -> f64 {
        let (share, (_, stop)) = (self.duty.share(), self.usual());
        let wanted = self.owed / (1.0 - share);
        wanted.clamp(self.stop.0, stop + stop.max(LONGEST_CORRECTION))
    }

    /// Run and stop with nothing to be corrected, in seconds.
    fn usual(&self) -> (f64, f64) {
        let (share, period) = (self.duty.share(), self.duty.period().as_secs_f64());
        let (run, stop) = ((1.0 - share) * period, share * period);
        // At most one is too short, or both halves are the host's shortest and one of them grows.
        let scale = (self.run.0 / run).max(self.stop.0 / stop).max(1.0);
        let scale = scale.max(RESOLUTION * self.apart.0 / period).max(WAYS * self.ways / period);
        (run * scale, stop * scale)
    }

    fn owe(&mut self, more: f64) {
        let most = LONGEST_MEMORY.max(self.duty.period().as_secs_f64());
        self.owed = (self.owed + more).clamp(-most, most);
    }
}

/// How much longer than slept a half takes, or than for another member, in seconds.
#[derive(Clone, Copy, Debug)]
struct Lateness(f64);

impl Lateness {
    /// The least that it moves by at once.
    const STEP: f64 = 20e-6;

    fn sleep(self, wanted: f64) -> f64 {
        wanted - self.0
    }

    /// Follows what is usual: one half that was later by far moves it no more than one that was a bit late.
    fn learn(&mut self, late: f64) {
        let step = Self::STEP.max(self.0 / 4.0);
        self.0 = (self.0 + ((late - self.0) / 4.0).clamp(-step, step)).max(0.0);
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
