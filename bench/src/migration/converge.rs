//! A guest that rewrites its memory faster than the link carries it: what each strategy makes of that, and what it costs the guest.
//!
//! The guest rewrites pages at random, over and over, and checks them; how often it comes around in a second is its speed. The strategy `Throttle` slows it down until
//! what is left fits into the downtime; its speed at the last setting of the throttle is compared with the one before the migration.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::vm::Process;
use super::{Doing, Plan, narrow};
use crate::pace;
use crate::report::{Column, Table};

/// The link, in bytes a second: a fraction of what such a guest writes.
const LINK: f64 = 16.0 * 1024.0 * 1024.0;
/// A fifth of what the guest rewrites, by the link.
const DOWNTIME_MS: u64 = 50;
/// Until the strategies do what they do then, and until the throttle has to have come to an end.
const TIMEOUT_S: u64 = 3;
const THROTTLED_S: u64 = 60;
const LIMIT: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(20);
/// How long the guest's speed is measured.
const MEASURED: Duration = Duration::from_millis(500);

/// What was seen at one moment.
struct Look {
    at: Instant,
    rounds: u64,
    throttle: u64,
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let mut table = Table::new([
        Column::text("strategy"),
        Column::text("outcome"),
        Column::number("in total").under("s"),
        Column::number("rounds"),
        Column::number("link").under("MiB/s"),
        Column::number("throttle").under("%"),
        Column::number("guest's speed").under("%"),
        Column::number("downtime").under("ms"),
        Column::number("allowed"),
    ]);
    for (strategy, timeout) in
        [("Throttle", THROTTLED_S), ("Cancel", TIMEOUT_S), ("Ignore", TIMEOUT_S)]
    {
        table.row(migrate(plan, strategy, timeout)?);
    }
    Ok(table)
}

fn migrate(plan: &Plan, strategy: &str, timeout: u64) -> Result<Vec<String>> {
    let source = Process::run(&plan.stillpoint, Doing::Rewriting)?;
    let destination = Process::serve(&plan.stillpoint)?;
    let dir = tempfile::tempdir().context("cannot make a directory for the socket")?;
    let (there, narrow) = (dir.path().join("there"), dir.path().join("narrow"));
    let receiving = json!({ "receiver_url": format!("unix:{}", there.display()) });
    let receiver = std::thread::spawn(move || {
        let received = destination.ask("PUT", "vm.receive-migration", &receiving);
        received.map(|(_, status, _)| (status, destination))
    });
    pace::until("the destination to listen", LOOK, LIMIT, || Ok(there.exists().then_some(())))?;
    narrow::carry(&narrow, there, LINK)?;
    let before = speed(&source)?;
    let sending = json!({
        "destination_url": format!("unix:{}", narrow.display()),
        "downtime_ms": DOWNTIME_MS, "timeout_s": timeout, "timeout_strategy": strategy,
    });
    let (looks, (took, status, answer)) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| source.ask("PUT", "vm.send-migration", &sending));
        let mut looks = Vec::new();
        while !asked.is_finished() {
            looks.extend(look(&source).ok());
            pace::pause_for(LOOK);
        }
        match asked.join() {
            Ok(sent) => sent.map(|sent| (looks, sent)),
            Err(_) => bail!("the sender panicked"),
        }
    })?;
    let (received, destination) = match receiver.join() {
        Ok(received) => received?,
        Err(_) => bail!("the receiver panicked"),
    };
    let is_there = (200..300).contains(&status);
    if is_there != (200..300).contains(&received) {
        bail!("the two ends say different things: {status}, {received}");
    }
    // It goes on where it is, and finds its memory as it was.
    speed(if is_there { &destination } else { &source })?;
    let slowest = slowest(&looks);
    let ms = answer["downtime"]["total_us"].as_f64().map(|us| format!("{:.1}", us / 1e3));
    Ok(vec![
        strategy.to_owned(),
        if is_there { "at the destination" } else { "stays, runs" }.to_owned(),
        format!("{:.1}", took.as_secs_f64()),
        answer["iteration"].as_u64().map_or_else(String::new, |rounds| rounds.to_string()),
        format!("{:.0}", LINK / f64::from(1 << 20)),
        looks.iter().map(|look| look.throttle).max().unwrap_or(0).to_string(),
        slowest.map_or_else(String::new, |rate| format!("{:.1}", rate / before * 100.0)),
        ms.unwrap_or_default(),
        DOWNTIME_MS.to_string(),
    ])
}

fn look(source: &Process) -> Result<Look> {
    let (_, _, progress) = source.ask("GET", "vm.migration-progress", &Value::Null)?;
    let throttle = progress["throttle_percent"].as_u64().context("no throttle in the progress")?;
    Ok(Look { at: Instant::now(), rounds: source.line()?.progress()?, throttle })
}

/// Rounds a second of a guest that nobody slows down.
fn speed(process: &Process) -> Result<f64> {
    let line = process.line()?;
    let (begun, first) = (Instant::now(), line.progress()?);
    pace::until("the guest to go on", LOOK, LIMIT, || {
        Ok((begun.elapsed() >= MEASURED && line.progress()? > first).then_some(()))
    })?;
    Ok(rate(line.progress()? - first, begun.elapsed()))
}

/// The guest's speed while the throttle was at its last setting, if that was looked at more than once.
fn slowest(looks: &[Look]) -> Option<f64> {
    let last = looks.iter().rfind(|look| look.throttle > 0)?.throttle;
    let mut at_it = looks.iter().filter(|look| look.throttle == last);
    let (first, last) = (at_it.next()?, at_it.next_back()?);
    Some(rate(last.rounds.checked_sub(first.rounds)?, last.at - first.at))
}

fn rate(rounds: u64, time: Duration) -> f64 {
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    f64::from(rounds) / time.as_secs_f64()
}
