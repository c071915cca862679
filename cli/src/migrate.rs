//! `migrate`: sends a VM away, with a progress bar on a terminal and lines elsewhere; or asks about it, ends it, settles it.
//!
//! One connection to the API waits for the migration's end, another asks how far it is. Ctrl-C cancels the migration and waits for what that
//! comes to, so that the exit status is always that of the migration.
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use vmm::config::{
    LinkUrl, PageCompression, Resolution, ResolveConfig, SendMigrationConfig, TimeoutStrategy,
    print_size,
};
use vmm::migration::{TransferInfo, TransferState};

use crate::args::Migrate;
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::ls::align;
use crate::output::print;
use crate::target::{Found, find};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

/// Does what the options say.
pub fn migrate(options: &Migrate) -> Result<(), Failure> {
    if options.cancel {
        return crate::commands::put(&options.target, "vm.migration-cancel");
    }
    if options.status {
        return status(options);
    }
    if let Some(resolution) = &options.resolve {
        return resolve(options, resolution);
    }
    let config = config_of(options)?;
    let found = find(&options.target)?;
    send(found, &config)
}

fn status(options: &Migrate) -> Result<(), Failure> {
    let mut found = find(&options.target)?;
    let info = found.client.get("vm.migration-progress").map_err(|error| found.failure(&error))?;
    print(&describe(&info))
}

fn resolve(options: &Migrate, resolution: &str) -> Result<(), Failure> {
    let resolution = match resolution {
        "keep" => Resolution::Keep,
        "drop" => Resolution::Drop,
        other => return Err(Failure::Usage(format!("--resolve {other}: give keep or drop"))),
    };
    let mut found = find(&options.target)?;
    let body = ResolveConfig { resolution };
    let told: Result<Option<serde_json::Value>, _> =
        found.client.send("vm.migration-resolve", &body);
    told.map(drop).map_err(|error| found.failure(&error))
}

fn config_of(options: &Migrate) -> Result<SendMigrationConfig, Failure> {
    // One of the group is there, and it is none of the others.
    let url = options.to.as_deref().unwrap_or_default();
    let mut config = SendMigrationConfig::to(url);
    config.downtime_ms = options.downtime_ms.unwrap_or(config.downtime_ms);
    config.timeout_s = options.timeout_s.unwrap_or(config.timeout_s);
    config.connections = options.connections.unwrap_or(config.connections);
    config.timeout_strategy = match options.timeout_strategy.as_deref() {
        None | Some("cancel") => TimeoutStrategy::Cancel,
        Some("ignore") => TimeoutStrategy::Ignore,
        Some("throttle") => TimeoutStrategy::Throttle,
        Some(other) => {
            let message = format!("--timeout-strategy {other}: give cancel, ignore or throttle");
            return Err(Failure::Usage(message));
        }
    };
    config.compression = match options.compression.as_deref() {
        None | Some("none") => PageCompression::None,
        Some("lz4") => PageCompression::Lz4,
        Some("zstd") => PageCompression::Zstd,
        Some(other) => {
            return Err(Failure::Usage(format!("--compression {other}: give none, lz4 or zstd")));
        }
    };
    let url: LinkUrl = url.parse().map_err(|problem| Failure::Usage(format!("--to: {problem}")))?;
    config.destination_url = url.to_string();
    config.validate().map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config)
}

fn send(found: Found, config: &SendMigrationConfig) -> Result<(), Failure> {
    let looks = Client::connect(&found.socket)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| Failure::of("signals", &error))?;
    }
    let (done, ended) = channel();
    let name = found.name.clone();
    std::thread::scope(|scope| {
        let Found { mut client, .. } = found;
        scope.spawn(move || {
            // The other side waits for it.
            let _ = done.send(client.send("vm.send-migration", config));
        });
        watch(looks, &ended, &interrupted, &name)
    })
}

/// Shows how far it is until it has ended.
fn watch(
    mut client: Client,
    ended: &Receiver<Result<Option<TransferInfo>, ClientError>>,
    interrupted: &AtomicBool,
    name: &str,
) -> Result<(), Failure> {
    let mut view = View::new();
    let result = loop {
        match ended.recv_timeout(LOOK) {
            Ok(result) => break result,
            // The thread has panicked, and the scope says so.
            Err(RecvTimeoutError::Disconnected) => break Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // SeqCst: as the handler stores it; once in a while.
        if interrupted.swap(false, Ordering::SeqCst) {
            match client.put("vm.migration-cancel") {
                Ok(()) => view.note("cancelling"),
                Err(error) => view.note(&error.to_string()),
            }
        }
        // The VMM may be gone, which the other connection finds out about.
        match client.get::<TransferInfo>("vm.migration-progress") {
            // One that has ended is an older one, or its end is on its way.
            Ok(info) if !info.state.is_final() => view.show(&info),
            _ => {}
        }
    };
    view.clear();
    match result {
        Ok(info) => print(&format!("{name}: {}\n", arrival(info.as_ref()))),
        Err(error) => Err(Failure::of(name, &error)),
    }
}

fn arrival(info: Option<&TransferInfo>) -> String {
    let Some(info) = info else { return "migrated".to_owned() };
    let Some(downtime) = info.downtime else { return format!("migrated to {}", info.place) };
    format!(
        "migrated to {}, in {:.3} s, of which the guest stood still {:.1} ms",
        info.place,
        Duration::from_millis(info.elapsed_ms).as_secs_f64(),
        Duration::from_micros(downtime.total_us).as_secs_f64() * 1000.0
    )
}

/// What is on the screen.
struct View {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl View {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
            // The template is right: a test draws it.
            bar.set_style(style());
            bar
        });
        Self { bar, last_line: None }
    }

    fn show(&mut self, info: &TransferInfo) {
        let message = line(info);
        let Some(bar) = &self.bar else {
            if self.last_line.is_none_or(|last| last.elapsed() >= LINE) {
                self.last_line = Some(Instant::now());
                self.note(&message);
            }
            return;
        };
        bar.set_length(info.memory_bytes.max(1));
        bar.set_position(info.memory_bytes.saturating_sub(info.remaining_bytes));
        bar.set_message(message);
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Without anybody to tell, the exit status says it all.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("[{bar:30}] {percent:>3}%  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// How far it is, in one line.
fn line(info: &TransferInfo) -> String {
    let mut parts = vec![state_of(info.state).to_owned()];
    if info.iteration > 0 {
        parts.push(format!("round {}", info.iteration + 1));
        parts.push(format!("{}/s sent", rough(info.bandwidth)));
        parts.push(format!("{}/s written", rough(info.dirty_rate)));
    }
    if info.throttle_percent > 0 {
        parts.push(format!("throttled {} %", info.throttle_percent));
    }
    // Nothing was measured before the first round: a number of years says nothing.
    let downtime = info.expected_downtime_us.filter(|micros| *micros < 3_600_000_000);
    if let Some(micros) = downtime {
        let millis = Duration::from_micros(micros).as_secs_f64() * 1000.0;
        parts.push(format!("downtime {millis:.1} ms"));
    }
    if let Some(eta) = info.eta_ms.filter(|eta| *eta >= 1000) {
        parts.push(format!("{} s left", eta / 1000));
    }
    parts.join(", ")
}

const fn state_of(state: TransferState) -> &'static str {
    match state {
        TransferState::Connecting => "connecting",
        TransferState::Copying => "copying memory",
        TransferState::Stopped => "last pages",
        TransferState::HandingOver => "handing over",
        TransferState::Committing => "committing",
        TransferState::Completed => "done",
        TransferState::Failed => "failed",
        TransferState::Cancelled => "cancelled",
        TransferState::InDoubt => "in doubt",
    }
}

/// A size to three digits.
fn rough(bytes: u64) -> String {
    let units = [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            if whole < 100 {
                format!("{whole}.{tenth} {name}iB")
            } else {
                format!("{whole} {name}iB")
            }
        }
        None => format!("{bytes} B"),
    }
}

fn describe(info: &TransferInfo) -> String {
    let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
    let kind = serde_json::to_value(info.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("transfer").to_owned();
    let mut lines = vec![
        [kind, info.place.clone()],
        ["state".to_owned(), line(info)],
        ["elapsed".to_owned(), format!("{} ms", info.elapsed_ms)],
        ["memory".to_owned(), print_size(info.memory_bytes)],
        ["done".to_owned(), rough(info.done_bytes)],
        ["remaining".to_owned(), rough(info.remaining_bytes)],
    ];
    if let Some(downtime) = info.downtime {
        let text = format!(
            "{:.1} ms: pause {:.1}, pages {:.1}, state {:.1} (destination {:.1}), commit {:.1}",
            millis(downtime.total_us),
            millis(downtime.pause_us),
            millis(downtime.pages_us),
            millis(downtime.state_us),
            millis(downtime.setup_us),
            millis(downtime.commit_us)
        );
        lines.push(["downtime".to_owned(), text]);
    }
    lines.extend(info.error.iter().map(|error| ["error".to_owned(), error.clone()]));
    align(&lines)
}

#[cfg(test)]
mod tests {
    use vmm::migration::TransferKind;

    use super::*;

    fn info() -> TransferInfo {
        TransferInfo {
            kind: TransferKind::Send,
            state: TransferState::Copying,
            place: "unix:/x".to_owned(),
            elapsed_ms: 1234,
            memory_bytes: 256 << 20,
            done_bytes: 300 << 20,
            iteration: 2,
            remaining_bytes: 64 << 20,
            bandwidth: 1200 << 20,
            dirty_rate: 500 << 10,
            throttle_percent: 40,
            expected_downtime_us: Some(12_345),
            eta_ms: Some(3000),
            downtime: None,
            error: None,
        }
    }

    #[test]
    fn a_line_says_how_far_it_is_and_nothing_that_is_not_known() {
        assert_eq!(
            line(&info()),
            "copying memory, round 3, 1.1 GiB/s sent, 500 KiB/s written, throttled 40 %, \
             downtime 12.3 ms, 3 s left"
        );
        let first = TransferInfo {
            iteration: 0,
            throttle_percent: 0,
            expected_downtime_us: None,
            eta_ms: None,
            ..info()
        };
        assert_eq!(line(&first), "copying memory");
    }

    #[test]
    fn the_bar_can_be_drawn() {
        let bar = ProgressBar::hidden();
        bar.set_style(ProgressStyle::with_template("[{bar:30}] {percent:>3}%  {msg}").unwrap());
        bar.set_message(line(&info()));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (100 << 10, "100 KiB"),
            (99 << 20, "99.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(rough(bytes), expected);
        }
    }
}
