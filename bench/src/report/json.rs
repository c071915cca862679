//! The report for programs.
//!
//! `version` is raised when a field changes its meaning or goes away.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::goals::{Goal, goals};
use super::{Host, Report, Row};
use crate::cell::ClientClass;
use crate::start::{Memory, Start};

const VERSION: u32 = 2;

#[derive(Serialize)]
struct File<'r> {
    version: u32,
    host: &'r Host,
    client: ClientClass,
    latencies: Vec<Row>,
    starts: &'r [Start],
    memory: Option<&'r Memory>,
    goals: Vec<Goal>,
}

/// Writes the report as JSON.
pub fn write_json(report: &Report, path: &Path) -> Result<()> {
    std::fs::write(path, text(report)?).with_context(|| format!("cannot write {}", path.display()))
}

fn text(report: &Report) -> Result<String> {
    let file = File {
        version: VERSION,
        host: &report.host,
        client: report.client,
        latencies: report.rows(),
        starts: &report.starts,
        memory: report.memory.as_ref(),
        goals: goals(report),
    };
    Ok(serde_json::to_string_pretty(&file)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn programs_find_everything() {
        let json: serde_json::Value =
            serde_json::from_str(&text(&sample::report()).unwrap()).unwrap();
        assert_eq!(json["version"], 2);
        let row = &json["latencies"][0];
        assert_eq!(row["place"], "socket");
        assert_eq!(row["guest"], "halted");
        assert_eq!(row["verb"], "pause");
        assert_eq!(row["vcpus"], 1);
        assert_eq!(row["paced"]["samples"], 3);
        assert_eq!(row["others_ms"], 0.53);
        assert!(row["storm_max_over_median"].is_number());
        assert_eq!(json["starts"][0]["vcpus"], 1);
        assert_eq!(json["memory"]["outside_mib"], 4.5);
        assert_eq!(json["goals"].as_array().unwrap().len(), 48);
        assert_eq!(json["host"]["cpus"], 2);
    }
}
