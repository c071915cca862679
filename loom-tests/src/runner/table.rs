//! The result of a half, as a machine-readable line and as a row of the table.

use std::fmt::{self, Write};

use super::verdict::Verdict;
use crate::model::{Bound, Half};

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) half: Half,
    pub(super) bound: Bound,
    pub(super) executions: u64,
    pub(super) seconds: f64,
    pub(super) verdict: Verdict,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, half, bound, executions, seconds, verdict } = self;
        write!(
            f,
            "model {name} half={half} bound={bound} executions={executions} seconds={seconds:.2} result={verdict}"
        )
    }
}

/// The table, with a line of totals.
pub(super) fn render(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("model".len());
    let mut table = String::new();
    let mut line =
        |name: &str, half: &str, bound: &str, executions: &str, time: &str, result: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "{name:width$}  {half:11}  {bound:>5}  {executions:>10}  {time:>8}  {result}"
            );
        };
    line("model", "half", "bound", "executions", "time", "result");
    for row in rows {
        let time = format!("{:.2} s", row.seconds);
        let result = match &row.verdict {
            Verdict::Found(kind) => format!("found ({kind})"),
            Verdict::Nothing => "not found".to_owned(),
            Verdict::Wrong(what) => format!("WRONG: {what}"),
        };
        let (half, executions) = (row.half.to_string(), row.executions.to_string());
        line(row.name, &half, &row.bound.to_string(), &executions, &time, &result);
    }
    let executions: u64 = rows.iter().map(|row| row.executions).sum();
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    line("all", "", "", &executions.to_string(), &format!("{seconds:.2} s"), "");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_of_named_fields() {
        let row = Row {
            name: "lost-kick",
            half: Half::Historic,
            bound: Bound::Preemptions(3),
            executions: 5,
            seconds: 0.014,
            verdict: Verdict::Found("deadlock"),
        };
        let line =
            "model lost-kick half=historic bound=3 executions=5 seconds=0.01 result=found:deadlock";
        assert_eq!(row.to_string(), line);
        let table = render(&[row]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("found (deadlock)"), "{table}");
    }
}
