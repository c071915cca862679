//! `migrate`: sends a VM away, with a progress bar on a terminal and lines elsewhere; or asks about it, ends it, settles it.
//!
//! One connection to the API waits for the migration's end, another asks how far it is. Ctrl-C cancels the migration and waits for what that
//! comes to, so that the exit status is always that of the migration.
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use vmm::config::{
    LinkUrl, PageCompression, Resolution, ResolveConfig, SendMigrationConfig, TimeoutStrategy,
    print_size,
};
use vmm::migration::TransferInfo;

use crate::args::Migrate;
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::ls::align;
use crate::output::print;
use crate::snapshot::absolute;
use crate::target::{Found, find};
use view::{View, line, rough};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

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
    config.tls_dir = options.tls_dir.as_deref().map(absolute).transpose()?;
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
