//! `stillpoint serve` in a process of its own.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;

use crate::support::Bed;
use crate::support::api;

/// A VMM. Dropping it ends it.
pub struct Process {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    pub name: String,
}

impl Process {
    /// Returns when it serves.
    pub fn start(bed: &Bed, name: &str) -> Self {
        let path = |kind: &str| bed.directory.path().join(format!("{name}.{kind}"));
        let (socket, log) = (path("sock"), path("log"));
        // A file that may not grow is an error of the write, not the end of the process: as with a disk that is full.
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let program = env!("CARGO_BIN_EXE_stillpoint");
        let api = socket.to_str().expect("text");
        let args = ["-c", script, program, "serve", "--api-socket", api];
        let mut command = bed.command_of("sh", &args);
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).expect("log"));
        let mut child = command.spawn().expect("started");
        let mut said = [0; 256];
        let length = child.stdout.as_mut().expect("piped").read(&mut said).expect("a line");
        let said = String::from_utf8_lossy(&said[..length]);
        let wrong = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(said.contains("API on"), "{said}{}", wrong());
        Self { child, socket, log, name: name.to_owned() }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn put(&self, action: &str, body: Option<&Value>) -> Result<(), String> {
        api::request(&self.socket, "PUT", action, body).map(drop)
    }

    pub fn get(&self, action: &str) -> Result<Value, String> {
        api::request(&self.socket, "GET", action, None)
    }

    /// Of its VM, if it has one, and if it lives.
    pub fn state(&self) -> Option<String> {
        Some(self.get("vm.info").ok()?["state"].as_str()?.to_owned())
    }

    /// Of the last transfer.
    pub fn transfer(&self) -> Option<String> {
        Some(self.get("vm.migration-progress").ok()?["state"].as_str()?.to_owned())
    }

    pub fn kill(&self) {
        // It may have ended by itself.
        let _ = kill_process(self.pid(), Signal::KILL);
    }

    /// Whether it has ended; waits for the end of one that was killed or said that it is gone.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("ours").is_some()
    }

    pub fn wait(&mut self) {
        self.child.wait().expect("ours");
    }

    /// Limits it from now on; none: no more.
    pub fn limit(&self, resource: Resource, current: Option<u64>) {
        let maximum = getrlimit(resource).maximum;
        let current = current.or(if resource == Resource::Nofile { maximum } else { None });
        prlimit(Some(self.pid()), resource, Rlimit { current, maximum }).expect("limit");
    }

    /// Bytes of address space that it has.
    pub fn address_space(&self) -> u64 {
        let pages = std::fs::read_to_string(self.proc("statm")).expect("statm");
        let pages: u64 = pages.split(' ').next().and_then(|n| n.parse().ok()).expect("number");
        pages * 4096
    }

    /// How many descriptors and threads it has.
    pub fn has(&self) -> (usize, usize) {
        let count = |of: &str| std::fs::read_dir(self.proc(of)).expect("alive").count();
        (count("fd"), count("task"))
    }

    fn proc(&self, of: &str) -> PathBuf {
        Path::new("/proc").join(self.pid().as_raw_nonzero().to_string()).join(of)
    }

    /// All that is known of it, for people: the VM with each vCPU's word, counters, transfer, threads, its log.
    pub fn report(&self) -> String {
        let mut text = format!("process {}:\n", self.name);
        for action in ["vm.info", "vm.counters", "vm.migration-progress"] {
            let _ = match self.get(action) {
                Ok(document) => writeln!(text, "  {action}: {document}"),
                Err(error) => writeln!(text, "  {action}: {error}"),
            };
        }
        for task in std::fs::read_dir(self.proc("task")).into_iter().flatten().flatten() {
            let of = |file: &str| {
                let read = std::fs::read_to_string(task.path().join(file));
                let read = read.unwrap_or_else(|error| format!("({error})"));
                read.split_whitespace()
                    .filter(|word| *word != "[<0>]")
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let stat = of("stat");
            let state = stat.rsplit_once(") ").map_or("?", |(_, rest)| &rest[..1]);
            let _ = writeln!(
                text,
                "  thread {}: {state}, in {}, system call {}, stack {}",
                of("comm"),
                of("wchan"),
                of("syscall"),
                of("stack")
            );
        }
        text + "  log: " + &std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}
