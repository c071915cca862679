//! Snapshots into a directory, and restores from it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::vm::Process;
use super::{Doing, Plan, cell};
use crate::report::{Column, Table};

/// What a restore is asked for, and its name.
const MODES: [&str; 2] = ["copy", "ondemand"];

/// One snapshot and the restores from it, in milliseconds.
struct Turn {
    snapshot: f64,
    /// How long the guest stood still for it.
    seen: f64,
    restores: [f64; 2],
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut table = Table::new([
        Column::text("case"),
        Column::number("snapshot").under("ms"),
        Column::number("guest's break"),
        Column::number("restore, copied"),
        Column::number("restore, on demand"),
    ]);
    for doing in [Doing::Clock, Doing::Filled] {
        for (name, live) in [("", false), (", live", true)] {
            let turns =
                (0..plan.turns).map(|_| turn(plan, doing, live)).collect::<Result<Vec<_>>>()?;
            let of = |number: &dyn Fn(&Turn) -> f64| cell(turns.iter().map(number).collect(), 2);
            table.row([
                doing.name() + name,
                of(&|turn| turn.snapshot),
                of(&|turn| turn.seen),
                of(&|turn| turn.restores[0]),
                of(&|turn| turn.restores[1]),
            ]);
        }
    }
    Ok(table)
}

fn turn(plan: &Plan, doing: Doing, live: bool) -> Result<Turn> {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let dir = tempfile::tempdir_in(&plan.dir).context("cannot make a directory for snapshots")?;
    let url = format!("file://{}", dir.path().join("snapshot").display());
    let mut source = Process::run(&plan.stillpoint, doing)?;
    let (took, _) = source.put("vm.snapshot", &json!({ "destination_url": url, "live": live }))?;
    let seen = source.line()?.longest_break()?;
    let _kernel = source.end();
    let mut restores = [0.0; 2];
    for (mode, restore) in MODES.iter().zip(&mut restores) {
        let mut process = Process::serve(&plan.stillpoint)?;
        let wanted = json!({ "source_url": url, "resume": true, "memory_restore_mode": mode });
        let (took, _) = process.put("vm.restore", &wanted)?;
        *restore = ms(took);
        // It runs: its time goes on.
        process.line()?.longest_break()?;
    }
    Ok(Turn { snapshot: ms(took), seen: ms(seen), restores })
}
