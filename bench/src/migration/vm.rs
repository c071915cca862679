//! A `stillpoint` process whose VM is sent, received, saved or restored.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stillpoint_guest::driver::{self, Command};

use super::{Doing, FILLED, MEMORY};
use crate::http::request_with;
use crate::mappings;
use crate::pace;
use crate::subject::{Tie, VmmProcess};

/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_micros(200);
/// How long the guest's counter is compared with the host's clock.
const COMPARED: Duration = Duration::from_millis(50);

/// A process with its API.
pub(super) struct Process {
    process: VmmProcess,
    /// The driver guest's file: a restored VM is asked for it, too.
    kernel: Option<tempfile::NamedTempFile>,
}

impl Process {
    /// One whose guest does that.
    pub(super) fn run(stillpoint: &Path, doing: Doing) -> Result<Self> {
        let memory = format!("size={MEMORY}");
        let common = ["run", "--serial", "null", "--memory", &memory];
        if let Doing::Halted(vcpus) = doing {
            let cpus = format!("boot={vcpus}");
            let cmdline = format!("vcpus={vcpus} mode=halt quiet");
            let rest = ["--cpus", &cpus, "--cmdline", &cmdline];
            return Self::start(stillpoint, &[&common[..], &rest].concat(), None);
        }
        let kernel = tempfile::NamedTempFile::new().context("cannot make a file")?;
        std::fs::write(kernel.path(), stillpoint_guest::DRIVER_IMAGE)?;
        let path = kernel.path().to_string_lossy().into_owned();
        let rest = ["--cpus", "boot=1", "--kernel", &path, "--cmdline", "vcpus=1 quiet"];
        let process = Self::start(stillpoint, &[&common[..], &rest].concat(), Some(kernel))?;
        let filled = if doing == Doing::Filled { FILLED } else { 0 };
        let line = process.line()?;
        // Behind the program's own memory, and the arena of its vCPU.
        line.store(driver::ARGUMENTS, driver::ARENAS + driver::ARENA_SIZE)?;
        line.store(driver::ARGUMENTS + 8, filled)?;
        line.store(driver::COMMAND, 1 << 32 | Command::Clock as u64)?;
        pace::until("the guest to write the time", LOOK, LIMIT, || {
            Ok((line.load(driver::PROGRESS)? > 0).then_some(()))
        })?;
        Ok(process)
    }

    /// One without a VM.
    pub(super) fn serve(stillpoint: &Path) -> Result<Self> {
        let mut process = VmmProcess::spawn_with(stillpoint, &["serve"], Tie::ParentDeath)?;
        process.connect()?;
        Ok(Self { process, kernel: None })
    }

    fn start(
        stillpoint: &Path,
        arguments: &[&str],
        kernel: Option<tempfile::NamedTempFile>,
    ) -> Result<Self> {
        let mut process = VmmProcess::spawn_with(stillpoint, arguments, Tie::ParentDeath)?;
        let mut api = process.connect()?;
        process.wait_running(&mut api)?;
        Ok(Self { process, kernel })
    }

    /// Asks for something that has to succeed: how long it took, and what was answered.
    pub(super) fn put(&mut self, endpoint: &str, body: &Value) -> Result<(Duration, Value)> {
        // A connection of its own: the VMM closes those on which nothing has come for a while.
        let mut api = self.process.connect()?;
        let (took, reply) = api.succeed(&request_with("PUT", endpoint, body))?;
        let answer = if reply.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&reply.body).context("the answer is not JSON")?
        };
        Ok((took, answer))
    }

    /// Ends it; what is left is its kernel.
    pub(super) fn end(self) -> Option<tempfile::NamedTempFile> {
        self.kernel
    }

    /// The driver guest's line of words.
    pub(super) fn line(&self) -> Result<Line> {
        Line::of(self.process.pid())
    }
}

/// The words through which the driver guest is told and tells.
pub(super) struct Line {
    memory: File,
    base: u64,
}

impl Line {
    fn of(pid: u32) -> Result<Self> {
        let mappings = mappings::without_pss(pid)?;
        // A memfd, or the memory of a snapshot.
        let is_memory = |mapping: &&mappings::Mapping| {
            mapping.is_guest_ram()
                || mapping.name.trim_end_matches(" (deleted)").ends_with("/memory")
        };
        let memory = mappings.iter().filter(is_memory).find(|mapping| mapping.offset == 0);
        let base = memory.context("the VMM has no mapping of guest RAM")?.start;
        let path = format!("/proc/{pid}/mem");
        let memory = OpenOptions::new().read(true).write(true).open(&path);
        Ok(Self { memory: memory.with_context(|| format!("cannot open {path}"))?, base })
    }

    fn load(&self, offset: u64) -> Result<u64> {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, self.base + driver::LINES + offset)?;
        Ok(u64::from_le_bytes(word))
    }

    fn store(&self, offset: u64, value: u64) -> Result<()> {
        let place = self.base + driver::LINES + offset;
        Ok(self.memory.write_all_at(&value.to_le_bytes(), place)?)
    }

    /// The longest break between two times that the guest wrote. It has to be writing still.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
    pub(super) fn longest_break(&self) -> Result<Duration> {
        let time = || Ok::<_, anyhow::Error>((self.load(driver::RESULTS + 16)?, Instant::now()));
        let longest = self.load(driver::RESULTS + 8)?;
        let (first, begun) = time()?;
        pace::pause_for(COMPARED);
        let (last, ended) = time()?;
        ensure!(last > first, "the guest's time stands still");
        let ticks_per_second = (last - first) as f64 / (ended - begun).as_secs_f64();
        Ok(Duration::from_secs_f64(longest as f64 / ticks_per_second))
    }
}
