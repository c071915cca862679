//! One running `stillpoint run`: its serial console line by line, its commands, its end.
//!
//! Each has a runtime directory of its own, so that the commands find it by name as they do for a user, and
//! nothing of it meets another VM. Dropping it ends the VMM.
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::http::Api;
use super::{Bed, autopsy};
use crate::progress::tail;
use crate::tool;

/// After how long a wait is reported as a hang. An emulated boot takes seconds, on a busy machine a minute.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// A line of the serial console.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it came.
    pub at: Instant,
    /// Without its end.
    pub text: String,
}

/// A VM that was started.
pub struct Vm {
    pub(super) name: String,
    stillpoint: PathBuf,
    logs: PathBuf,
    runtime: PathBuf,
    errors: PathBuf,
    child: Child,
    keys: Option<ChildStdin>,
    pub(super) lines: Receiver<Line>,
    /// Everything that came over the serial port so far.
    pub serial: Vec<Line>,
    /// When the VMM was started.
    pub started: Instant,
}

impl Vm {
    /// Starts `stillpoint run` with the serial console on a pipe and these options besides.
    pub fn start(bed: &Bed, name: &str, options: &[&str]) -> Result<Self> {
        Self::start_as(Command::new(&bed.stillpoint), bed, name, ("run", options))
    }

    /// Starts `stillpoint VERB` with these words by this command: a VMM to which a VM comes (`receive`, `restore`), its console on a pipe
    /// again; or one that runs it, somewhere else than the test.
    pub fn arrive(
        command: Command,
        bed: &Bed,
        name: &str,
        verb: &str,
        words: &[&str],
    ) -> Result<Self> {
        Self::start_as(command, bed, name, (verb, words))
    }

    /// The same in a network namespace of its own, which ends with it.
    pub fn start_in_namespace(bed: &Bed, name: &str, options: &[&str]) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.arg("-n").arg(&bed.stillpoint);
        Self::start_as(command, bed, name, ("run", options))
    }

    fn start_as(
        mut command: Command,
        bed: &Bed,
        name: &str,
        (verb, options): (&str, &[&str]),
    ) -> Result<Self> {
        let runtime =
            std::env::temp_dir().join(format!("stillpoint-test-{}-{name}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&runtime)
            .with_context(|| format!("cannot make {}", runtime.display()))?;
        let errors = bed.logs.join(format!("{name}.stderr"));
        command.args([verb, "--name", name]).args(options).env("XDG_RUNTIME_DIR", &runtime);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&errors)?);
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", tool::describe(&command)))?;
        let keys = child.stdin.take();
        let serial = child.stdout.take().context("a piped child has a standard output")?;
        let log = File::create(bed.logs.join(format!("{name}.serial")))?;
        let lines = read_lines(serial, log);
        let stillpoint = bed.stillpoint.clone();
        let name = name.to_owned();
        Ok(Self {
            name,
            stillpoint,
            logs: bed.logs.clone(),
            runtime,
            errors,
            child,
            keys,
            lines,
            serial: Vec::new(),
            started,
        })
    }

    /// Types a line on the serial console.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let keys = self.keys.as_mut().context("the console's input was closed")?;
        writeln!(keys, "{line}")
            .and_then(|()| keys.flush())
            .context("cannot type on the serial console")
    }

    /// Types a line and returns what comes after it, up to the line that has `marker` in it.
    pub fn ask(&mut self, line: &str, marker: &str) -> Result<Vec<Line>> {
        self.drain()?;
        let before = self.serial.len();
        self.send(line)?;
        self.wait_for(marker, before)?;
        Ok(self.serial[before..].to_vec())
    }

    /// Waits until a line after the first `from` ones has `marker` in it, and returns how many lines there were then.
    pub fn wait_for(&mut self, marker: &str, from: usize) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        let mut next = from;
        loop {
            while let Some(line) = self.serial.get(next) {
                next += 1;
                if line.text.contains(marker) {
                    return Ok(next);
                }
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.serial.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{marker} did not come; {}", self.hung())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the VMM ended before {marker} came; {}", self.report())
                }
            }
        }
    }

    /// Whether a line with `marker` in it has come by now.
    ///
    /// # Errors
    /// When it has not, and none can come any more: the VMM has ended.
    pub fn has_seen(&mut self, marker: &str) -> Result<bool> {
        let open = self.drain()?;
        let seen = self.serial.iter().any(|line| line.text.contains(marker));
        if !seen && open == Stream::Ended {
            bail!("the VMM ended before {marker} came; {}", self.report());
        }
        Ok(seen)
    }

    /// Runs `stillpoint VERB NAME`, as a user would.
    pub fn command(&self, verb: &str) -> Result<String> {
        self.command_with(verb, &[])
    }

    /// Runs `stillpoint VERB NAME WORDS…`.
    pub fn command_with(&self, verb: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.stillpoint);
        command.args([verb, &self.name]).args(words);
        tool::output(command.env("XDG_RUNTIME_DIR", &self.runtime))
    }

    /// Has the guest run one of its own commands, which must succeed; the lines `SP …` that it says.
    pub fn run(&mut self, command: &str) -> Result<Vec<String>> {
        let lines = self.ask(command, "SP-DONE ")?;
        let status = lines.iter().find_map(|line| line.text.strip_prefix("SP-DONE "));
        let said = lines.iter().filter_map(|line| Some(line.text.strip_prefix("SP ")?.to_owned()));
        let said: Vec<_> = said.collect();
        if status != Some("0") {
            let last: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            bail!("`{command}` ended with {status:?} in the guest:\n{}", last.join("\n"));
        }
        Ok(said)
    }

    /// What `vm.info` answers.
    pub fn info(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.api()?.get("vm.info")?)?)
    }

    /// The counter `name` of the device `id`.
    pub fn counter(&self, id: &str, name: &str) -> Result<u64> {
        let counters: Value = serde_json::from_str(&self.api()?.get("vm.counters")?)?;
        let counter = counters.get(id).and_then(|device| device.get(name)).and_then(Value::as_u64);
        counter.with_context(|| format!("vm.counters has no {name} of {id}"))
    }

    /// Where the guest finds the device `id`.
    pub fn place(&self, id: &str) -> Result<String> {
        let info = self.info()?;
        let place = info["device_tree"][id]["pci_bdf"].as_str();
        Ok(place.with_context(|| format!("vm.info has no place of {id}"))?.to_owned())
    }

    /// A connection to the API's socket.
    pub fn api(&self) -> Result<Api> {
        Api::connect(&self.runtime.join("stillpoint").join(format!("{}.sock", self.name)))
    }

    /// Waits for the VMM's end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Its console ends when it does.
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.serial.push(line),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.child.wait().context("cannot wait for the VMM");
                }
                Err(RecvTimeoutError::Timeout) => bail!("the VMM did not end; {}", self.hung()),
            }
        }
    }

    /// What is known about it, for an error.
    pub fn report(&self) -> String {
        let serial: Vec<&str> = self.serial.iter().map(|line| line.text.as_str()).collect();
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let info = self.command("info").unwrap_or_else(|error| error.to_string());
        format!(
            "{} lines came, the last:\n{}it said:\n{}`stillpoint info`:\n{}",
            self.serial.len(),
            tail(&serial.join("\n"), 15),
            tail(&errors, 15),
            tail(&info, 15)
        )
    }

    /// The same of one that hangs, and why, as far as it can be found out.
    fn hung(&mut self) -> String {
        let report = self.report();
        let logs = self.logs.clone();
        format!("{report}what it was doing: {}", autopsy::of(self, &logs).display())
    }

    /// The VMM's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes the lines that have come.
    fn drain(&mut self) -> Result<Stream> {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.serial.push(line),
                Err(TryRecvError::Empty) => return Ok(Stream::Open),
                Err(TryRecvError::Disconnected) => return Ok(Stream::Ended),
            }
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Both fail when the VMM has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.runtime);
    }
}

#[derive(PartialEq, Eq)]
enum Stream {
    Open,
    Ended,
}

/// Reads lines in the background, with the time at which each was complete. The log has everything as it comes, so
/// that after a hang it also shows a line that was begun.
fn read_lines(mut from: impl Read + Send + 'static, mut log: File) -> Receiver<Line> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut begun = Vec::new();
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let at = Instant::now();
            // A log that can't be written is no reason to fail a test.
            let _ = log.write_all(&buffer[..length]);
            for &byte in &buffer[..length] {
                begun.push(byte);
                if byte != b'\n' {
                    continue;
                }
                let text =
                    String::from_utf8_lossy(&begun).trim_end_matches(['\r', '\n']).to_owned();
                begun.clear();
                if sender.send(Line { at, text }).is_err() {
                    return;
                }
            }
        }
    });
    lines
}

/// The path as an option's value.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))
}
