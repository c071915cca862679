//! `snapshot`: a VM into a directory, and what is in one.
use std::path::{Path, PathBuf};

use vmm::config::{SnapshotConfig, print_size};
use vmm::migration::{SnapshotInfo, inspect};

use crate::args::{Inspect, Snapshot, SnapshotCommand};
use crate::failure::Failure;
use crate::ls::align;
use crate::output::print;
use crate::target::find;

/// Takes a snapshot, or looks into one.
pub fn snapshot(options: &Snapshot) -> Result<(), Failure> {
    if let Some(SnapshotCommand::Inspect(options)) = &options.inspect {
        return look(options);
    }
    // The command line has one, or this is another command.
    let Some(directory) = &options.directory else {
        return Err(Failure::Usage("which directory?".to_owned()));
    };
    let config = SnapshotConfig {
        destination_url: file_url(directory)?,
        live: options.live,
        base_url: options.base.as_deref().map(file_url).transpose()?,
    };
    let mut found = find(&options.target)?;
    let sent: Result<Option<serde_json::Value>, _> = found.client.send("vm.snapshot", &config);
    sent.map_err(|error| found.failure(&error))?;
    print(&format!("{}: saved in {}\n", found.name, directory.display()))
}

/// A directory as the API names it.
pub fn file_url(directory: &Path) -> Result<String, Failure> {
    Ok(format!("file://{}", absolute(directory)?.display()))
}

/// A directory's name for a process that may have another current one.
pub fn absolute(directory: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(directory);
    let absolute = absolute.map_err(|error| Failure::of(directory.display(), &error))?;
    // A trailing slash or dots would be no name for what is to be made.
    Ok(absolute.components().collect())
}

fn look(options: &Inspect) -> Result<(), Failure> {
    let info = inspect(&options.directory)?;
    if options.json {
        let text = serde_json::to_string(&info).map_err(|error| Failure::of("JSON", &error))?;
        return print(&format!("{text}\n"));
    }
    print(&describe(&info))
}

fn describe(info: &SnapshotInfo) -> String {
    let config = &info.config;
    let mut lines = vec![
        ["id".to_owned(), info.id.clone()],
        ["cpus".to_owned(), config.cpus.to_string()],
        ["memory".to_owned(), config.memory.to_string()],
        ["pages".to_owned(), pages(info)],
    ];
    let bases = info.bases.iter();
    lines.extend(bases.map(|(path, id)| ["base".to_owned(), format!("{path} ({id})")]));
    let disks = config.disks.iter();
    lines.extend(disks.map(|disk| ["disk".to_owned(), format!("{disk} (not in the snapshot)")]));
    lines.extend(config.net.iter().map(|net| ["net".to_owned(), net.to_string()]));
    let regions = info.regions.iter();
    lines
        .extend(regions.map(|(gpa, bytes)| {
            ["region".to_owned(), format!("{gpa:#x}, {}", print_size(*bytes))]
        }));
    lines.extend(info.units.iter().map(|(name, version, bytes)| {
        ["unit".to_owned(), format!("{name}, version {version}, {bytes} bytes")]
    }));
    align(&lines)
}

fn pages(info: &SnapshotInfo) -> String {
    let held = format!("{} of {}", print_size(info.data_bytes), print_size(info.memory_bytes));
    if info.bases.is_empty() {
        return format!("{held}, the rest is zeros");
    }
    format!("{held} have changed, {} have become zeros", print_size(info.zeroed_bytes))
}
