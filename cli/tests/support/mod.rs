//! The binary in a runtime directory of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]
pub mod api;
pub mod kernels;
pub mod terminal;

use std::path::PathBuf;
use std::process::{Command, Output};

/// A place for VMs that no other test sees.
pub struct Bed {
    pub directory: tempfile::TempDir,
}

impl Bed {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    /// `stillpoint ARGS`, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_stillpoint"), args)
    }

    /// Another program in the same place, which starts `stillpoint` in the end.
    pub fn command_of(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env_remove("RUST_BACKTRACE")
            .current_dir(self.directory.path())
            .stdin(std::process::Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("started")
    }

    /// Runs it, expects success, and returns its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs it, expects that it fails with one line, and returns status and line.
    pub fn fails(&self, args: &[&str]) -> (i32, String) {
        failed(&self.run(args), args)
    }

    /// A path in the directory, as text.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("text").to_owned()
    }

    /// The directory of sockets.
    pub fn runtime(&self) -> PathBuf {
        self.directory.path().join("stillpoint")
    }

    /// What is in it.
    pub fn left_behind(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.runtime()) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("entry").file_name();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    }
}

/// Status and line of what must have failed with one line.
pub fn failed(output: &Output, args: &[&str]) -> (i32, String) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} succeeds");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}: {:?}", output.stdout);
    (output.status.code().expect("no signal"), stderr)
}

/// The VMM that `run --detach` left in the background, ended with the test if it fails.
pub struct Background<'a>(&'a Bed, &'static str);

impl<'a> Background<'a> {
    pub fn run(bed: &'a Bed, name: &'static str, args: &[&str]) -> Self {
        let all: Vec<&str> =
            ["run", "--detach", "--name", name].iter().chain(args).copied().collect();
        let said = bed.ok(&all);
        assert!(said.starts_with(&format!("{name}: running, pid ")), "{said}");
        Self(bed, name)
    }

    /// One that another command has left there.
    pub fn of(bed: &'a Bed, name: &'static str) -> Self {
        Self(bed, name)
    }

    /// Its process, as `ls` tells it.
    pub fn pid(&self) -> rustix::process::Pid {
        let list = self.0.ok(&["ls"]);
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(self.1));
        let pid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        rustix::process::Pid::from_raw(pid.expect("pid")).expect("not zero")
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        if !self.0.left_behind().is_empty() {
            let _ = self.0.run(&["kill", self.1]);
        }
    }
}
