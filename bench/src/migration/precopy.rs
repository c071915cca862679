//! Pre-copy between two processes over a Unix socket.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::vm::Process;
use super::{Doing, Plan, cell, link};
use crate::pace;
use crate::report::{Column, Table};

const LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_micros(200);

/// The parts of the downtime, by their names in the answer.
const PARTS: [(&str, &str); 5] = [
    ("pause", "pause_us"),
    ("pages", "pages_us"),
    ("state", "state_us"),
    ("of it set-up", "setup_us"),
    ("commit", "commit_us"),
];

/// One migration.
struct Turn {
    total: Duration,
    /// As the guest saw it, if it looks.
    seen: Option<Duration>,
    answer: Value,
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut columns = vec![
        Column::text("case"),
        Column::number("in total").under("ms"),
        Column::number("socket's limit"),
        Column::number("guest's break"),
        Column::number("downtime"),
    ];
    columns.extend(PARTS.iter().map(|(name, _)| Column::number(name)));
    columns.extend([Column::number("MiB").under("sent"), Column::number("rounds")]);
    let mut table = Table::new(columns);
    let speed = link::speed()?;
    for doing in [Doing::Clock, Doing::Filled, Doing::Halted(1), Doing::Halted(64)] {
        let turns = (0..plan.turns).map(|_| migrate(plan, doing)).collect::<Result<Vec<_>>>()?;
        table.row(row(doing, &turns, speed));
    }
    Ok(table)
}

fn row(doing: Doing, turns: &[Turn], speed: f64) -> Vec<String> {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let of =
        |number: &dyn Fn(&Turn) -> Option<f64>| turns.iter().filter_map(number).collect::<Vec<_>>();
    let downtime =
        |name: &'static str| of(&move |turn| Some(turn.answer["downtime"][name].as_f64()? / 1e3));
    let sent = of(&|turn| turn.answer["done_bytes"].as_f64());
    let mut cells = vec![
        doing.name(),
        cell(of(&|turn| Some(ms(turn.total))), 1),
        cell(sent.iter().map(|bytes| bytes / speed * 1e3).collect(), 1),
        cell(of(&|turn| turn.seen.map(ms)), 2),
        cell(downtime("total_us"), 2),
    ];
    cells.extend(PARTS.iter().map(|(_, name)| cell(downtime(name), 2)));
    cells.push(cell(sent.iter().map(|bytes| bytes / f64::from(1 << 20)).collect(), 1));
    cells.push(cell(of(&|turn| turn.answer["iteration"].as_f64()), 0));
    cells
}

fn migrate(plan: &Plan, doing: Doing) -> Result<Turn> {
    let mut source = Process::run(&plan.stillpoint, doing)?;
    let mut destination = Process::serve(&plan.stillpoint)?;
    let dir = tempfile::tempdir().context("cannot make a directory for the socket")?;
    let socket = dir.path().join("migration");
    let url = format!("unix:{}", socket.display());
    let receiving = json!({ "receiver_url": url });
    let receiver = std::thread::spawn(move || {
        let received = destination.put("vm.receive-migration", &receiving);
        received.map(|_| destination)
    });
    pace::until("the destination to listen", LOOK, LIMIT, || Ok(socket.exists().then_some(())))?;
    let (total, answer) = source.put("vm.send-migration", &json!({ "destination_url": url }))?;
    let destination = match receiver.join() {
        Ok(received) => received?,
        Err(_) => bail!("the receiver panicked"),
    };
    let looks = !matches!(doing, Doing::Halted(_));
    let seen = looks.then(|| destination.line()?.longest_break()).transpose()?;
    Ok(Turn { total, seen, answer })
}
