//! One migration between two processes over a Unix socket, and what is shown of several.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::vm::Process;
use super::{Doing, Plan, cell};
use crate::pace;
use crate::report::Column;

const LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_micros(200);

/// The guests that are migrated.
const CASES: [Doing; 4] = [Doing::Clock, Doing::Filled, Doing::Halted(1), Doing::Halted(64)];

/// The parts of the downtime, by their names in the answer; the second one's title depends on what is done in it.
const PARTS: [&str; 5] = ["pause_us", "pages_us", "state_us", "setup_us", "commit_us"];

/// The columns of these parts.
pub(super) fn part_columns(second: &'static str) -> impl Iterator<Item = Column> {
    ["pause", second, "state", "of it set-up", "commit"].map(Column::number).into_iter()
}

struct Turn {
    total: Duration,
    /// The break as the guest saw it, if it looks.
    seen: Option<Duration>,
    answer: Value,
}

/// What migrations of the same guest came to.
pub(super) struct Turns(Vec<Turn>);

impl Turns {
    /// As many as are planned for each case, asked for with these fields.
    pub(super) fn of_each_case<'p>(
        plan: &'p Plan,
        fields: &'p Value,
    ) -> impl Iterator<Item = Result<(Doing, Self)>> + 'p {
        CASES.into_iter().map(move |doing| {
            let turns = (0..plan.turns).map(|_| migrate(plan, doing, fields));
            Ok((doing, Self(turns.collect::<Result<_>>()?)))
        })
    }

    /// How long each took, in milliseconds.
    pub(super) fn totals(&self) -> Vec<f64> {
        self.of(|turn| Some(ms(turn.total)))
    }

    /// The guests' breaks as they saw them, in milliseconds.
    pub(super) fn breaks(&self) -> Vec<f64> {
        self.of(|turn| turn.seen.map(ms))
    }

    /// A number of the answers.
    pub(super) fn answers(&self, name: &str) -> Vec<f64> {
        self.of(|turn| turn.answer[name].as_f64())
    }

    /// The cells of the downtime and of its parts, in milliseconds.
    pub(super) fn downtimes(&self) -> impl Iterator<Item = String> {
        ["total_us"].into_iter().chain(PARTS).map(|name| {
            cell(self.of(|turn| Some(turn.answer["downtime"][name].as_f64()? / 1e3)), 2)
        })
    }

    fn of(&self, number: impl Fn(&Turn) -> Option<f64>) -> Vec<f64> {
        self.0.iter().filter_map(number).collect()
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn migrate(plan: &Plan, doing: Doing, fields: &Value) -> Result<Turn> {
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
    let mut sending = fields.clone();
    sending["destination_url"] = json!(url);
    let (total, answer) = source.put("vm.send-migration", &sending)?;
    let destination = match receiver.join() {
        Ok(received) => received?,
        Err(_) => bail!("the receiver panicked"),
    };
    let looks = matches!(doing, Doing::Clock | Doing::Filled);
    let seen = looks.then(|| destination.line()?.longest_break()).transpose()?;
    Ok(Turn { total, seen, answer })
}
