//! What the figures are held to.

use serde::Serialize;

use super::Report;
use crate::cell::Place;
use crate::reference;

/// One figure and its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What is held to it.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// It may not be above.
    pub limit: f64,
    /// Unit of both.
    pub unit: &'static str,
    /// Whether it is.
    pub kept: bool,
}

fn goal(what: String, value: f64, limit: f64, unit: &'static str) -> Goal {
    Goal { what, value, limit, unit, kept: value <= limit }
}

/// Every goal that something was measured for.
pub fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for row in report.rows() {
        let (guest, place, verb) = (row.guest.name(), row.place.name(), row.verb.name());
        let what = format!("{verb} of {} {guest}, {place}", row.vcpus);
        if let Some(others) = row.others_ms {
            goals.push(goal(format!("{what}: median"), row.paced.median_ms, others, "ms"));
        }
        if row.place != Place::Threads {
            let (value, limit) = (row.storm_max_over_median, reference::STORM_SPREAD);
            goals.push(goal(format!("{what}: worst of the storm"), value, limit, "x median"));
        }
    }
    for start in &report.starts {
        let limit = match start.vcpus.get() {
            1 => reference::START_1_MS,
            254 => reference::START_254_MS,
            _ => continue,
        };
        let what = format!("start to Running with {} vCPUs: median", start.vcpus);
        goals.push(goal(what, start.to_running.median_ms, limit, "ms"));
    }
    if let Some(memory) = &report.memory {
        let what = "memory outside guest RAM with 1 vCPU".to_owned();
        goals.push(goal(what, memory.outside_mib, reference::MEMORY_MIB, "MiB"));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_is_above_its_limit_is_missed() {
        let goals = goals(&sample::report());
        // 14 at the socket that others have figures for, 32 storms, 1 start, memory.
        assert_eq!(goals.len(), 14 + 32 + 2);
        let missed: Vec<_> =
            goals.iter().filter(|goal| !goal.kept).map(|goal| &goal.what).collect();
        assert_eq!(missed, ["memory outside guest RAM with 1 vCPU"]);
    }
}
