//! virtio-blk: requests and megabytes a second.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use stillpoint_guest::driver::{Command, Pattern};
use vmm::config::DiskConfig;

use super::guest::Guest;
use super::{Plan, host, median};
use crate::pace;
use crate::report::{Column, Table, digits};

/// Bytes of the image.
const LENGTH: u64 = 256 << 20;
const SECTOR: u64 = 512;
/// Requests by which the speed is found out.
const TRIAL: u64 = 256;

/// One kind of I/O.
pub struct Case {
    name: &'static str,
    pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u64,
    /// Requests in flight.
    pub depth: u64,
}

impl Case {
    pub fn is_write(&self) -> bool {
        matches!(self.pattern, Pattern::RandomWrite | Pattern::SequentialWrite)
    }

    pub fn is_sequential(&self) -> bool {
        matches!(self.pattern, Pattern::SequentialRead | Pattern::SequentialWrite)
    }
}

const KINDS: [(&str, Pattern, u64); 4] = [
    ("random read", Pattern::RandomRead, 4 << 10),
    ("random write", Pattern::RandomWrite, 4 << 10),
    ("sequential read", Pattern::SequentialRead, 128 << 10),
    ("sequential write", Pattern::SequentialWrite, 128 << 10),
];
const DEPTHS: [u64; 2] = [1, 32];

/// A guest and a plain program in turns on one file.
pub fn measure(plan: &Plan) -> Result<Table> {
    let image = tempfile::NamedTempFile::new_in(&plan.dir)
        .with_context(|| format!("cannot make an image in {}", plan.dir.display()))?;
    // Written, so that nobody measures holes.
    std::fs::write(image.path(), vec![0x5A; usize::try_from(LENGTH)?])?;
    let mut bed = Bed {
        file: File::options().read(true).write(true).open(image.path())?,
        guest: Guest::start(|config| {
            let disk =
                DiskConfig { id: Some(DISK.to_owned()), ..DiskConfig::of_path(image.path()) };
            config.disks.push(disk);
        })?,
        slot: 0,
    };
    bed.slot = bed.guest.slot(DISK)?;
    let mut table = Table::new([
        Column::text("I/O"),
        Column::number("KiB"),
        Column::number("depth"),
        Column::number("requests/s").under("guest"),
        Column::number("MB/s"),
        Column::number("requests/s").under("plain program"),
        Column::number("MB/s"),
        Column::number("ratio"),
    ]);
    for (name, pattern, bytes) in KINDS {
        for depth in DEPTHS {
            table.row(bed.row(&Case { name, pattern, bytes, depth }, plan)?);
        }
    }
    Ok(table)
}

const DISK: &str = "disk";

struct Bed {
    file: File,
    guest: Guest,
    slot: u64,
}

impl Bed {
    fn row(&mut self, case: &Case, plan: &Plan) -> Result<Vec<String>> {
        eprintln!("{}, depth {} …", case.name, case.depth);
        let mut rates = [Vec::new(), Vec::new()];
        let [of_guest, of_host] = [
            requests_in(plan.window, self.guest(case, TRIAL)?),
            requests_in(plan.window, host::run(&self.file, case, LENGTH, TRIAL)?),
        ];
        for _ in 0..plan.turns {
            pace::go_on()?;
            rates[0].push(rate(of_guest, self.guest(case, of_guest)?));
            rates[1].push(rate(of_host, host::run(&self.file, case, LENGTH, of_host)?));
        }
        let [guest, host] = rates.map(median);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
        let megabytes = |rate: f64| digits(rate * case.bytes as f64 / 1e6);
        Ok(vec![
            case.name.to_owned(),
            (case.bytes >> 10).to_string(),
            case.depth.to_string(),
            format!("{guest:.0}"),
            megabytes(guest),
            format!("{host:.0}"),
            megabytes(host),
            digits(guest / host),
        ])
    }

    fn guest(&mut self, case: &Case, requests: u64) -> Result<Duration> {
        let sectors = LENGTH / SECTOR;
        let pattern = case.pattern as u64;
        let arguments = [self.slot, requests, case.bytes, case.depth, sectors, pattern, 4711];
        Ok(self.guest.run(Command::Block, &arguments)?.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
fn rate(requests: u64, time: Duration) -> f64 {
    requests as f64 / time.as_secs_f64()
}

/// How many fit into a time, by how long the trial took.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn requests_in(window: Duration, trial: Duration) -> u64 {
    (rate(TRIAL, trial) * window.as_secs_f64()) as u64 + TRIAL
}
