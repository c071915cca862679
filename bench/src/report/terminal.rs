//! The report for people.

use std::fmt::Write;

use super::goals::{Goal, goals};
use super::table::{Column, Table, digits};
use super::{Report, Row};
use crate::cell::{ClientClass, Place};

/// The report as text. Writing to a string cannot fail.
pub fn print(report: &Report) -> String {
    let mut text = heading(report);
    let rows = report.rows();
    for place in Place::ALL {
        let mut table = latencies(place);
        for row in rows.iter().filter(|row| row.place == place) {
            table.row(cells(row));
        }
        if !table.is_empty() {
            let _ = write!(text, "\n{}, milliseconds\n{table}", title(place, report.client));
        }
    }
    text += &start(report);
    text += &verdict(&goals(report));
    text
}

fn heading(report: &Report) -> String {
    let host = &report.host;
    let warning =
        host.warning().map_or_else(String::new, |warning| format!("warning: {warning}\n"));
    format!("{} CPUs ({}), Linux {}\n{warning}", host.cpus, host.cpu_model, host.kernel)
}

fn title(place: Place, client: ClientClass) -> &'static str {
    match place {
        Place::Socket if client == ClientClass::Ordinary => {
            "At the API socket, the client an ordinary task"
        }
        Place::Socket => "At the API socket",
        Place::InProcess => "In process, at the control interface",
        Place::Threads => "Bare threads, each signalled once, then woken by one futex",
    }
}

fn latencies(place: Place) -> Table {
    let number = Column::number;
    let mut columns = vec![number("vCPUs"), Column::text("guest"), Column::text("verb")];
    columns.extend([number("min").under("paced cycles"), number("median"), number("p99")]);
    columns.extend([number("max"), number("min").under("storm, back to back")]);
    columns.extend([number("median"), number("p99"), number("max"), number("max/med")]);
    if place != Place::Threads {
        columns.extend([number("median").under("bare threads"), number("ratio")]);
    }
    if place == Place::Socket {
        columns.extend([number("median").under("others"), number("ratio")]);
    }
    Table::new(columns)
}

fn cells(row: &Row) -> Vec<String> {
    let maybe = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), digits);
    let mut cells =
        vec![row.vcpus.to_string(), row.guest.name().to_owned(), row.verb.name().to_owned()];
    for summary in [row.paced, row.storm] {
        let values = [summary.min_ms, summary.median_ms, summary.p99_ms, summary.max_ms];
        cells.extend(values.map(digits));
    }
    cells.push(digits(row.storm_max_over_median));
    // A table without these columns drops them.
    cells.extend([row.threads_ms, row.over_threads, row.others_ms, row.over_others].map(maybe));
    cells
}

fn start(report: &Report) -> String {
    let mut text = String::new();
    let mut table = Table::new([
        Column::number("vCPUs"),
        Column::number("runs"),
        Column::number("min"),
        Column::number("median"),
        Column::number("p99"),
        Column::number("max"),
        Column::number("of it boot"),
        Column::number("bare KVM"),
        Column::number("ratio"),
    ]);
    for start in &report.starts {
        let s = &start.to_running;
        let figures = [s.min_ms, s.median_ms, s.p99_ms, s.max_ms].map(digits);
        let own = start.own.map_or_else(|| "-".to_owned(), |own| digits(own.median_ms));
        let head = [start.vcpus.to_string(), s.samples.to_string()];
        let bare = start.bare.median_ms;
        let floor = [bare, s.median_ms / bare].map(digits);
        table.row(head.into_iter().chain(figures).chain([own]).chain(floor));
    }
    if !table.is_empty() {
        let _ = write!(
            text,
            "\nProcess start to \"Running\" seen at the API socket, milliseconds\n{table}"
        );
    }
    if let Some(memory) = &report.memory {
        let parts: Vec<_> =
            memory.parts_kib.iter().map(|(kind, kib)| format!("{kind} {kib}")).collect();
        let _ = write!(
            text,
            "\nMemory (PSS) outside guest RAM with {} vCPU: {:.2} MiB\n  in KiB: {}\n",
            memory.vcpus,
            memory.outside_mib,
            parts.join(", ")
        );
    }
    text
}

fn verdict(goals: &[Goal]) -> String {
    let missed: Vec<_> = goals.iter().filter(|goal| !goal.kept).collect();
    let mut text =
        format!("\nGoals: {} kept, {} missed\n", goals.len() - missed.len(), missed.len());
    for Goal { what, value, limit, unit, .. } in missed {
        let _ = writeln!(
            text,
            "  missed: {what}: {} {unit}, limit {} {unit}",
            digits(*value),
            digits(*limit)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_part_is_printed() {
        let text = print(&sample::report());
        for part in [
            "2 CPUs (Example CPU), Linux 6.1.0",
            "At the API socket",
            "In process",
            "Bare threads",
            "others",
            "Memory (PSS) outside guest RAM with 1 vCPU: 4.50 MiB",
            "Goals: 47 kept, 1 missed",
            "limit 4.00 MiB",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
    }
}
