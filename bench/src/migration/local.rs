//! A VM goes to another process on this host with the memory that it has: nothing of it is copied.

use anyhow::Result;
use serde_json::json;

use super::turn::{Turns, part_columns};
use super::{Plan, cell};
use crate::report::{Column, Table};

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut columns = vec![
        Column::text("case"),
        Column::number("in total").under("ms"),
        Column::number("guest's break"),
        Column::number("downtime"),
    ];
    columns.extend(part_columns("save"));
    let mut table = Table::new(columns);
    for case in Turns::of_each_case(plan, &json!({ "local": true })) {
        let (doing, turns) = case?;
        let mut cells = vec![doing.name(), cell(turns.totals(), 2), cell(turns.breaks(), 2)];
        cells.extend(turns.downtimes());
        table.row(cells);
    }
    Ok(table)
}
