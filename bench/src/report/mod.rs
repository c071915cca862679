//! What comes out: rows with their ratios, the goals they are held to, and three ways to show them.

mod goals;
mod host;
mod json;
mod plot;
mod table;
mod tables;
mod terminal;

use serde::Serialize;

use crate::cell::{ClientClass, Guest, Place, Verb};
use crate::measure::Measured;
use crate::reference;
use crate::start::{Memory, Start};
use crate::stats::Summary;

pub use host::Host;
pub use json::write_json;
pub use plot::write_svg;
pub use table::{Column, Table, digits};
pub use tables::Tables;
pub use terminal::print;

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// On what.
    pub host: Host,
    /// How the client at the socket was scheduled.
    pub client: ClientClass,
    /// Latencies, in the order of measurement.
    pub measured: Vec<Measured>,
    /// Starts.
    pub starts: Vec<Start>,
    /// Memory.
    pub memory: Option<Memory>,
}

/// One line of the table: a verb, for a load, at a place.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// vCPUs or plain threads.
    pub vcpus: u32,
    /// What they do.
    pub guest: Guest,
    /// Where it was measured.
    pub place: Place,
    /// What was timed.
    pub verb: Verb,
    /// With the guest running in between.
    pub paced: Summary,
    /// Back to back.
    pub storm: Summary,
    /// The worst of the storm, in medians of it.
    pub storm_max_over_median: f64,
    /// The median of plain threads under the same load.
    pub threads_ms: Option<f64>,
    /// How many times that this row's median is.
    pub over_threads: Option<f64>,
    /// What others need, median.
    pub others_ms: Option<f64>,
    /// How many times that this row's median is.
    pub over_others: Option<f64>,
}

impl Report {
    /// The rows, with what they are compared to.
    pub fn rows(&self) -> Vec<Row> {
        self.measured.iter().map(|measured| self.row(measured)).collect()
    }

    fn row(&self, measured: &Measured) -> Row {
        let Measured { load, place, verb, paced, storm } = *measured;
        let same = |other: &&Measured| {
            (other.load, other.place, other.verb) == (load, Place::Threads, verb)
        };
        let threads_ms = self.measured.iter().find(same).map(|floor| floor.paced.median_ms);
        let threads_ms = threads_ms.filter(|_| place != Place::Threads);
        // Others were measured at their sockets.
        let others_ms = reference::others_ms(load, verb).filter(|_| place == Place::Socket);
        let over = |base: Option<f64>| base.map(|base| paced.median_ms / base);
        Row {
            vcpus: load.vcpus.get(),
            guest: load.guest,
            place,
            verb,
            paced,
            storm,
            storm_max_over_median: storm.max_over_median(),
            threads_ms,
            over_threads: over(threads_ms),
            others_ms,
            over_others: over(others_ms),
        }
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! A report to test with.

    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::cell::Load;

    /// A median of so many milliseconds, with a spread around it.
    pub fn summary(median_ms: f64) -> Summary {
        let samples = [0.8, 1.0, 2.5].map(|x| Duration::from_secs_f64(x * median_ms / 1e3));
        Summary::of(&samples).unwrap()
    }

    /// Every place, load and verb of a whole run.
    pub fn report() -> Report {
        let mut measured = Vec::new();
        for (vcpus, base) in [(1, 0.03), (8, 0.2), (64, 0.9), (254, 3.1)] {
            for guest in Guest::ALL {
                for (place, times) in Place::ALL.into_iter().zip([1.5, 1.2, 1.0]) {
                    for (verb, part) in Verb::ALL.into_iter().zip([1.0, 0.2]) {
                        let load = Load { vcpus: NonZeroU32::new(vcpus).unwrap(), guest };
                        let paced = summary(base * times * part);
                        measured.push(Measured { load, place, verb, paced, storm: paced });
                    }
                }
            }
        }
        let vcpus = NonZeroU32::MIN;
        Report {
            host: Host {
                kernel: "6.1.0".into(),
                cpus: 2,
                cpu_model: "Example CPU".into(),
                busy_percent: 0.0,
            },
            client: ClientClass::Prompt,
            measured,
            starts: vec![Start { vcpus, to_running: summary(5.0), own: None, bare: summary(0.5) }],
            memory: Some(Memory {
                vcpus,
                outside_mib: 4.5,
                guest_mib: 1.25,
                parts_kib: [("heap", 100), ("program", 4508)].into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_to_their_own_kind() {
        let rows = sample::report().rows();
        assert_eq!(rows.len(), 4 * 2 * 3 * 2);
        let find = |place, verb| {
            *rows
                .iter()
                .find(|r| (r.vcpus, r.guest, r.place, r.verb) == (64, Guest::Halted, place, verb))
                .unwrap()
        };
        let socket = find(Place::Socket, Verb::Resume);
        assert!((socket.over_threads.unwrap() - 1.5).abs() < 0.01, "{socket:?}");
        assert_eq!(socket.others_ms, Some(2.1));
        assert!((socket.over_others.unwrap() - 0.27 / 2.1).abs() < 0.01, "{socket:?}");
        assert!((socket.storm_max_over_median - 2.5).abs() < 0.01, "{socket:?}");
        assert_eq!(find(Place::InProcess, Verb::Pause).others_ms, None);
        assert_eq!(find(Place::Threads, Verb::Pause).threads_ms, None);
    }
}
