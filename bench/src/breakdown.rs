//! Where the time of a pause and a resume goes.
//!
//! ```text
//!   API socket ── HTTP, one thread's wake-up ──▶ control interface ── hand-over ──▶ group ──▶ each vCPU
//!   group:        signalling ─▶ the last one stopping ─▶ completing its exit ─▶ waking the pauser
//!   bare threads: signalling ─▶ the last one stopping ──────────────────────▶ waking the pauser
//! ```
//!
//! The parts between the socket and the group are differences of medians measured under the same load;
//! those of the group and of the bare threads are medians of time stamps taken in each cycle.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use vcpu_state::PauseParts;

use crate::cell::{ClientClass, Load, Place, Verb};
use crate::cycles::{self, Plan, Subject};
use crate::floor::{Floor, Stop, WhileStopped};
use crate::measure::{self, Server};
use crate::report::{Column, Table, digits};
use crate::stats::Summary;
use crate::subject::InProcess;

/// Median milliseconds of a verb, from the outside in.
struct Shells {
    socket: f64,
    control: f64,
    group: f64,
    /// Waking threads after the answer.
    wake: f64,
}

/// Of each verb, at the control interface, inside the group, and of the wake.
type Medians = [(Verb, [f64; 3]); 2];

/// Measures and shows it.
pub fn breakdown(load: Load, plan: Plan, stillpoint: &Path) -> Result<String> {
    let server = Server { stillpoint, client: ClientClass::Prompt };
    let [socket_pause, socket_resume] = measure::measure(Place::Socket, load, plan, server)?;
    let (inner, parts) = in_process(load, plan)?;
    let mut table = Table::new([
        Column::text("verb"),
        Column::number("API socket").under("median"),
        Column::number("control"),
        Column::number("group"),
        Column::number("HTTP").under("of which"),
        Column::number("hand-over"),
        Column::number("vCPUs"),
        Column::number("waking").under("after the answer"),
    ]);
    for (outer, (verb, inner)) in [socket_pause, socket_resume].iter().zip(&inner) {
        let [control, group, wake] = *inner;
        let shells = Shells { socket: outer.paced.median_ms, control, group, wake };
        table.row(cells(*verb, &shells));
    }
    let floor = floor(load, plan)?;
    Ok(format!(
        "{load} vCPUs, milliseconds\n{table}\nthe pause of the group\n{parts}\n{} {} bare threads, milliseconds\n{floor}",
        load.vcpus,
        load.guest.name()
    ))
}

fn cells(verb: Verb, Shells { socket, control, group, wake }: &Shells) -> Vec<String> {
    let parts = [*socket, *control, *group, socket - control, control - group, *group, *wake];
    std::iter::once(verb.name().to_owned()).chain(parts.map(digits)).collect()
}

/// Medians at the control interface, inside the group, and of the wake; and the parts of the group's pause.
fn in_process(load: Load, plan: Plan) -> Result<(Medians, Table)> {
    let mut vm = Recorder {
        vm: InProcess::start(load)?,
        pause: Vec::new(),
        parts: Vec::new(),
        resume: Vec::new(),
        wake: Vec::new(),
    };
    let samples = cycles::paced(&mut vm, load, plan)?;
    let median = |samples: &[Duration]| {
        Summary::of(samples).map(|s| s.median_ms).context("not one cycle was asked for")
    };
    let shells = [
        (Verb::Pause, [median(&samples.pause)?, median(&vm.pause)?, 0.0]),
        (Verb::Resume, [median(&samples.resume)?, median(&vm.resume)?, median(&vm.wake)?]),
    ];
    let part = |of: fn(&PauseParts) -> Duration| {
        median(&vm.parts.iter().map(of).collect::<Vec<_>>()).map(digits)
    };
    let mut parts = Table::new([
        Column::number("signalling"),
        Column::number("last one stops"),
        Column::number("completes"),
        Column::number("pauser wakes"),
    ]);
    parts.row([
        part(|parts| parts.signalling)?,
        part(|parts| parts.stopping)?,
        part(|parts| parts.completing)?,
        part(|parts| parts.waking)?,
    ]);
    vm.vm.end()?;
    Ok((shells, parts))
}

/// Notes what the VMM says of each cycle.
struct Recorder {
    vm: InProcess,
    pause: Vec<Duration>,
    parts: Vec<PauseParts>,
    resume: Vec<Duration>,
    wake: Vec<Duration>,
}

impl Subject for Recorder {
    fn pause(&mut self) -> Result<Duration> {
        let took = self.vm.pause()?;
        self.parts.push(self.vm.pause_parts()?);
        Ok(took)
    }

    fn resume(&mut self) -> Result<Duration> {
        let (took, wake) = self.vm.resume_in_parts()?;
        self.wake.push(wake);
        let (pause, resume) = self.vm.last()?;
        self.pause.push(pause);
        self.resume.push(resume);
        Ok(took)
    }

    fn heartbeats(&mut self) -> Result<Vec<u64>> {
        self.vm.heartbeats()
    }
}

/// Where the time of plain threads goes.
fn floor(load: Load, plan: Plan) -> Result<String> {
    let mut threads = Timed {
        threads: Floor::start(load.vcpus, load.guest, WhileStopped::Batch)?,
        stops: Vec::new(),
        running: Vec::new(),
    };
    let samples = cycles::paced(&mut threads, load, plan)?;
    let median = |of: fn(&Stop) -> Duration| {
        let parts: Vec<_> = threads.stops.iter().map(of).collect();
        Summary::of(&parts).map_or(0.0, |summary| summary.median_ms)
    };
    let total = Summary::of(&samples.pause).map_or(0.0, |summary| summary.median_ms);
    let resume = Summary::of(&samples.resume).map_or(0.0, |summary| summary.median_ms);
    let mut table = Table::new([
        Column::number("pause"),
        Column::number("signalling").under("of which"),
        Column::number("last one stops"),
        Column::number("pauser wakes"),
        Column::number("resume").under(" "),
        Column::number("until all have run").under("after it"),
    ]);
    let [signalling, stopping, waking] =
        [median(|s| s.signalling), median(|s| s.stopping), median(|s| s.waking)];
    let running = Summary::of(&threads.running).map_or(0.0, |summary| summary.median_ms);
    table.row([total, signalling, stopping, waking, resume, running].map(digits));
    Ok(table.to_string())
}

/// Notes where each stop's time went.
struct Timed {
    threads: Floor,
    stops: Vec<Stop>,
    running: Vec<Duration>,
}

impl Subject for Timed {
    fn pause(&mut self) -> Result<Duration> {
        let (took, stop) = self.threads.stop_all()?;
        self.stops.push(stop);
        Ok(took)
    }

    fn resume(&mut self) -> Result<Duration> {
        let took = self.threads.resume()?;
        self.running.push(self.threads.wait_awake());
        Ok(took)
    }

    fn heartbeats(&mut self) -> Result<Vec<u64>> {
        self.threads.heartbeats()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::cell::Guest;

    #[test]
    fn each_shell_is_what_the_next_inner_one_does_not_explain() {
        let shells = Shells { socket: 0.5, control: 0.3, group: 0.25, wake: 0.01 };
        assert_eq!(
            cells(Verb::Pause, &shells),
            ["pause", "0.50", "0.30", "0.25", "0.20", "0.050", "0.25", "0.010"]
        );
    }

    #[test]
    fn the_floor_is_taken_apart() {
        let load = Load { vcpus: NonZeroU32::new(3).unwrap(), guest: Guest::Halted };
        let plan = Plan { cycles: 3, storm: 0, settle: Duration::from_millis(1) };
        let text = floor(load, plan).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("signalling"), "{text}");
    }
}
