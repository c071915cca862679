//! Pre-copy between two processes over a Unix socket.

use anyhow::Result;
use serde_json::json;

use super::turn::{Turns, part_columns};
use super::{Plan, cell, link};
use crate::report::{Column, Table};

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut columns = vec![
        Column::text("case"),
        Column::number("in total").under("ms"),
        Column::number("socket's limit"),
        Column::number("guest's break"),
        Column::number("downtime"),
    ];
    columns.extend(part_columns("pages"));
    columns.extend([Column::number("MiB").under("sent"), Column::number("rounds")]);
    let mut table = Table::new(columns);
    let speed = link::speed()?;
    for case in Turns::of_each_case(plan, &json!({})) {
        let (doing, turns) = case?;
        let sent = turns.answers("done_bytes");
        let mut cells = vec![
            doing.name(),
            cell(turns.totals(), 1),
            cell(sent.iter().map(|bytes| bytes / speed * 1e3).collect(), 1),
            cell(turns.breaks(), 2),
        ];
        cells.extend(turns.downtimes());
        cells.push(cell(sent.iter().map(|bytes| bytes / f64::from(1 << 20)).collect(), 1));
        cells.push(cell(turns.answers("iteration"), 0));
        table.row(cells);
    }
    Ok(table)
}
