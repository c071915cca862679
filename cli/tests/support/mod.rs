//! The binary in a runtime directory of its own.
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_stillpoint"));
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
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success(), "{args:?} succeeds");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}: {:?}", output.stdout);
        (output.status.code().expect("no signal"), stderr)
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
