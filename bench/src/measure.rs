//! One load at one place: start it, measure it, end it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cell::{ClientClass, Guest, Load, Place, Verb};
use crate::cycles::{self, Plan, Samples, Subject};
use crate::floor::{Floor, WhileStopped};
use crate::stats::Summary;
use crate::subject::{InProcess, Socket};

/// Latencies of one verb.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// How many vCPUs or threads, and what they do.
    pub load: Load,
    /// Where it was measured.
    pub place: Place,
    /// What was timed.
    pub verb: Verb,
    /// Cycles with the guest running in between.
    pub paced: Summary,
    /// Cycles back to back.
    pub storm: Summary,
}

/// What is measured at the socket.
#[derive(Clone, Copy, Debug)]
pub struct Server<'p> {
    /// The program.
    pub stillpoint: &'p Path,
    /// How its client is scheduled.
    pub client: ClientClass,
}

/// Measures both verbs.
pub fn measure(place: Place, load: Load, plan: Plan, server: Server<'_>) -> Result<[Measured; 2]> {
    match place {
        Place::Socket => {
            let mut vm = Socket::start(server.stillpoint, load, server.client)?;
            let measured = cycle(&mut vm, place, load, plan)?;
            vm.end()?;
            Ok(measured)
        }
        Place::InProcess => {
            let mut vm = InProcess::start(load)?;
            let measured = cycle(&mut vm, place, load, plan)?;
            vm.end()?;
            Ok(measured)
        }
        Place::Threads => floor(load, plan),
    }
}

/// The floor is the better of two kinds of threads: ordinary ones stop sooner, but preempt the thread
/// that wakes them. Spinning ordinary threads keep it from the CPU for so long (seconds) that they are
/// not worth measuring.
fn floor(load: Load, plan: Plan) -> Result<[Measured; 2]> {
    let run = |parked| {
        let mut threads = Floor::start(load.vcpus, load.guest, parked)?;
        cycle(&mut threads, Place::Threads, load, plan)
    };
    let batch = run(WhileStopped::Batch)?;
    if load.guest == Guest::Spinning {
        return Ok(batch);
    }
    let ordinary = run(WhileStopped::Ordinary)?;
    let [pause, resume] = [0, 1].map(|verb| better(batch[verb], ordinary[verb]));
    Ok([pause, resume])
}

fn better(a: Measured, b: Measured) -> Measured {
    let lower = |a: Summary, b: Summary| if a.median_ms <= b.median_ms { a } else { b };
    Measured { paced: lower(a.paced, b.paced), storm: lower(a.storm, b.storm), ..a }
}

fn cycle(subject: &mut dyn Subject, place: Place, load: Load, plan: Plan) -> Result<[Measured; 2]> {
    let paced = cycles::paced(subject, load, plan)?;
    let storm = cycles::storm(subject, load, plan)?;
    let of = |verb, pick: fn(&Samples) -> &[Duration]| -> Result<Measured> {
        let summary = |samples| Summary::of(pick(samples)).context("not one cycle was asked for");
        Ok(Measured { load, place, verb, paced: summary(&paced)?, storm: summary(&storm)? })
    };
    Ok([of(Verb::Pause, |samples| &samples.pause)?, of(Verb::Resume, |samples| &samples.resume)?])
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn the_floor_of_this_host_is_measured() {
        for guest in Guest::ALL {
            let load = Load { vcpus: NonZeroU32::new(2).unwrap(), guest };
            let plan = Plan { cycles: 3, storm: 7, settle: Duration::from_millis(1) };
            let server = Server { stillpoint: Path::new("/none"), client: ClientClass::Ordinary };
            let [pause, resume] = measure(Place::Threads, load, plan, server).unwrap();
            assert_eq!((pause.verb, resume.verb), (Verb::Pause, Verb::Resume));
            for measured in [pause, resume] {
                assert_eq!((measured.paced.samples, measured.storm.samples), (3, 7));
                assert!(measured.paced.min_ms > 0.0 && measured.storm.min_ms > 0.0);
            }
        }
    }
}
