//! The measurement itself: cycles of pause and resume, paced or back to back.
//!
//! ```text
//!   paced:  run (every spinning vCPU has moved) ─▶ PAUSE ─▶ stand still (none has moved) ─▶ RESUME ─▶ run …
//!   storm:  PAUSE ─▶ RESUME ─▶ PAUSE ─▶ RESUME …
//! ```
//!
//! Only what is in capitals is timed. That paused vCPUs stand still is checked, because a fast pause that
//! stops nobody is worth nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cell::{Guest, Load};
use crate::pace;

/// How much is measured, and at what pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Paced cycles.
    pub cycles: usize,
    /// Cycles of the storm.
    pub storm: usize,
    /// How long the guest runs at least between paced cycles.
    pub settle: Duration,
}

/// How long every spinning vCPU may take to move after a resume.
const MOVE_LIMIT: Duration = Duration::from_mins(1);
/// How long paused vCPUs are watched.
const WATCH: Duration = Duration::from_millis(1);
/// How often running ones are looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Something that can be paused and resumed.
pub trait Subject {
    /// Pauses; gives how long that took.
    fn pause(&mut self) -> Result<Duration>;
    /// Resumes; gives how long that took.
    fn resume(&mut self) -> Result<Duration>;
    /// A counter of every vCPU that moves while it spins.
    fn heartbeats(&mut self) -> Result<Vec<u64>>;
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Each pause.
    pub pause: Vec<Duration>,
    /// Each resume.
    pub resume: Vec<Duration>,
}

/// Cycles in which the guest runs in between.
pub fn paced(subject: &mut dyn Subject, load: Load, plan: Plan) -> Result<Samples> {
    let mut samples = Samples::default();
    for cycle in 0..plan.cycles {
        one(subject, load, plan, &mut samples)
            .with_context(|| format!("cycle {cycle} with {load} vCPUs"))?;
    }
    Ok(samples)
}

fn one(subject: &mut dyn Subject, load: Load, plan: Plan, samples: &mut Samples) -> Result<()> {
    run(subject, load.guest, plan.settle)?;
    samples.pause.push(subject.pause()?);
    let stopped = subject.heartbeats()?;
    pace::pause_for(WATCH);
    if subject.heartbeats()? != stopped {
        bail!("vCPUs went on although they were paused");
    }
    samples.resume.push(subject.resume()?);
    Ok(())
}

/// Lets the guest run.
fn run(subject: &mut dyn Subject, guest: Guest, settle: Duration) -> Result<()> {
    let before = subject.heartbeats()?;
    pace::pause_for(settle);
    if guest == Guest::Halted {
        return pace::go_on();
    }
    pace::until("every spinning vCPU to move", LOOK, MOVE_LIMIT, || {
        let now = subject.heartbeats()?;
        Ok(now.iter().zip(&before).all(|(now, before)| now != before).then_some(()))
    })
}

/// Cycles back to back.
pub fn storm(subject: &mut dyn Subject, load: Load, plan: Plan) -> Result<Samples> {
    let mut samples = Samples::default();
    for cycle in 0..plan.storm {
        pace::go_on()?;
        let what = || format!("cycle {cycle} of the storm with {load} vCPUs");
        samples.pause.push(subject.pause().with_context(what)?);
        samples.resume.push(subject.resume().with_context(what)?);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    /// One vCPU that moves whenever it is looked at, unless it is paused and obeys.
    struct Model {
        obeys: bool,
        paused: bool,
        beats: u64,
        requests: String,
    }

    impl Subject for Model {
        fn pause(&mut self) -> Result<Duration> {
            self.requests.push('p');
            self.paused = self.obeys;
            Ok(Duration::from_millis(2))
        }
        fn resume(&mut self) -> Result<Duration> {
            self.requests.push('r');
            self.paused = false;
            Ok(Duration::from_millis(1))
        }
        fn heartbeats(&mut self) -> Result<Vec<u64>> {
            self.beats += u64::from(!self.paused);
            Ok(vec![self.beats])
        }
    }

    const PLAN: Plan = Plan { cycles: 2, storm: 3, settle: Duration::ZERO };
    const LOAD: Load = Load { vcpus: NonZeroU32::MIN, guest: Guest::Spinning };

    fn model(obeys: bool) -> Model {
        Model { obeys, paused: false, beats: 0, requests: String::new() }
    }

    #[test]
    fn each_cycle_gives_a_sample_of_each() {
        let mut model = model(true);
        let samples = paced(&mut model, LOAD, PLAN).unwrap();
        assert_eq!(samples.pause, [Duration::from_millis(2); 2]);
        assert_eq!(samples.resume, [Duration::from_millis(1); 2]);
        assert_eq!(storm(&mut model, LOAD, PLAN).unwrap().pause.len(), 3);
        assert_eq!(model.requests, "prprprprpr");
    }

    #[test]
    fn a_pause_that_stops_nobody_is_found_out() {
        let error = paced(&mut model(false), LOAD, PLAN).unwrap_err();
        assert!(format!("{error:#}").contains("went on although"), "{error:#}");
    }
}
