//! `ls`: the VMs that run.
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use vmm::config::print_size;
use vmm::control::VmInfo;

use crate::args::Ls;
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::names;
use crate::output::print;

/// How long one VMM may keep the list waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// One line of the list.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    pid: Option<i32>,
    /// A phase, `no VM` or `not answering`.
    state: String,
    vcpus: Option<usize>,
    memory: Option<u64>,
    uptime_seconds: u64,
    api_socket: String,
}

/// Prints the list, and removes the sockets of VMMs that are dead.
pub fn ls(options: &Ls) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for socket in names::sockets()? {
        match row(&socket) {
            Ok(row) => rows.push(row),
            Err(ClientError::NotRunning(_)) => {
                vmm::api::remove_stale(&socket)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !options.json {
        return print(&table(&rows));
    }
    let text = serde_json::to_string_pretty(&rows);
    print(&format!("{}\n", text.map_err(|error| Failure::of("JSON", &error))?))
}

fn row(socket: &Path) -> Result<Row, ClientError> {
    let mut row = Row {
        name: names::name_of(socket),
        pid: None,
        state: "not answering".to_owned(),
        vcpus: None,
        memory: None,
        uptime_seconds: age(socket).as_secs(),
        api_socket: socket.display().to_string(),
    };
    let mut client = match Client::connect(socket) {
        Ok(client) => client,
        Err(ClientError::Busy(_)) => return Ok(row),
        Err(error) => return Err(error),
    };
    row.pid = client.pid().map(|pid| pid.as_raw_nonzero().get());
    client.set_timeout(PATIENCE)?;
    match client.get::<VmInfo>("vm.info") {
        Ok(info) => {
            row.state = format!("{:?}", info.state);
            row.vcpus = Some(info.vcpus.len());
            row.memory = Some(info.memory_actual_size);
        }
        Err(error) if error.status() == Some(404) => "no VM".clone_into(&mut row.state),
        // It may be about to end, or stuck: both are worth a line.
        Err(_) => {}
    }
    Ok(row)
}

/// The socket is as old as the VMM.
fn age(socket: &Path) -> Duration {
    let made = std::fs::metadata(socket).and_then(|metadata| metadata.modified());
    made.ok().and_then(|made| SystemTime::now().duration_since(made).ok()).unwrap_or_default()
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![["NAME", "PID", "STATE", "VCPUS", "MEMORY", "UPTIME"].map(str::to_owned)];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    lines.extend(rows.iter().map(|row| {
        [
            row.name.clone(),
            or_dash(row.pid.map(|pid| pid.to_string())),
            row.state.clone(),
            or_dash(row.vcpus.map(|vcpus| vcpus.to_string())),
            or_dash(row.memory.map(print_size)),
            print_duration(row.uptime_seconds),
        ]
    }));
    align(&lines)
}

/// Columns as wide as their widest cell.
pub fn align<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `7s`, `3m12s`, `5h07m`, `2d03h`.
pub fn print_duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86399, "23h59m"),
            (90000, "1d01h"),
        ] {
            assert_eq!(print_duration(seconds), expected);
        }
    }

    #[test]
    fn columns_line_up() {
        let lines = [["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(align(&lines), "A     B\nlong  x\n");
        assert_eq!(table(&[]), "NAME  PID  STATE  VCPUS  MEMORY  UPTIME\n");
    }
}
