//! `migrate`: sends a VM away, or asks about that, ends it, settles it.
use std::time::Duration;

use vmm::config::{
    LinkUrl, MemoryMode, PageCompression, Resolution, ResolveConfig, SendMigrationConfig,
    TimeoutStrategy, print_size,
};
use vmm::migration::TransferInfo;

use crate::args::Migrate;
use crate::attend::{attend, line, rough};
use crate::failure::Failure;
use crate::ls::align;
use crate::output::print;
use crate::snapshot::absolute;
use crate::target::{Found, find};

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
    config.precopy_rounds = options.precopy_rounds.unwrap_or(config.precopy_rounds);
    config.memory_mode = match options.memory_mode.as_deref() {
        None | Some("precopy") => MemoryMode::Precopy,
        Some("postcopy") => MemoryMode::Postcopy,
        Some(other) => {
            let message = format!("--memory-mode {other}: give precopy or postcopy");
            return Err(Failure::Usage(message));
        }
    };
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
    config.local = options.local;
    config.tls_dir = options.tls_dir.as_deref().map(absolute).transpose()?;
    let url: LinkUrl = url.parse().map_err(|problem| Failure::Usage(format!("--to: {problem}")))?;
    config.destination_url = url.to_string();
    config.validate().map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config)
}

fn send(found: Found, config: &SendMigrationConfig) -> Result<(), Failure> {
    let name = found.name.clone();
    let info: Option<TransferInfo> = attend(found, "vm.send-migration", config)?;
    print(&format!("{name}: {}\n", arrival(info.as_ref())))
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
