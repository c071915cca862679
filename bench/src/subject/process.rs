//! A `stillpoint` process with one VM: started, waited for, and ended on every path.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::cell::Load;
use crate::http::{Client, request};
use crate::pace;

/// How long the VMM may take to answer at all, and to end.
const LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked at while it starts. Every look takes time from what it looks at: with 50 µs, a
/// start took half a millisecond more.
const LOOK: Duration = Duration::from_micros(200);

/// Whether the process is tied to this one's life by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// It is killed when this process dies, even of SIGKILL.
    ParentDeath,
    /// It is not, and starts the way other programs start it. For measuring the start.
    None,
}

/// A VMM process; killed when dropped.
pub struct VmmProcess {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    _dir: TempDir,
}

impl VmmProcess {
    /// Starts `stillpoint run` with the embedded guest.
    pub fn spawn(stillpoint: &Path, load: Load, tie: Tie) -> Result<Self> {
        let arguments = [
            "run",
            "--serial",
            "null",
            "--cpus",
            &format!("boot={}", load.vcpus),
            "--cmdline",
            &load.guest.cmdline(load.vcpus),
        ];
        Self::spawn_with(stillpoint, &arguments, tie)
    }

    /// Starts `stillpoint` with a command and its arguments, and an API socket.
    pub fn spawn_with(stillpoint: &Path, arguments: &[&str], tie: Tie) -> Result<Self> {
        let dir = TempDir::with_prefix("stillpoint-bench-")
            .context("cannot make a directory for the API socket")?;
        let socket = dir.path().join("api.sock");
        let log = dir.path().join("stderr");
        let stderr = File::create(&log).context("cannot make a file for the VMM's messages")?;
        let mut command = Command::new(stillpoint);
        command
            .args(arguments)
            .arg("--api-socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        if tie == Tie::ParentDeath {
            let tie = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
            // SAFETY: between fork and exec only this runs: one system call, no memory.
            unsafe { command.pre_exec(tie) };
        }
        let child =
            command.spawn().with_context(|| format!("cannot start {}", stillpoint.display()))?;
        Ok(Self { child, socket, log, _dir: dir })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connects to its API as soon as that answers.
    pub fn connect(&mut self) -> Result<Client> {
        pace::until("the VMM's API socket", LOOK, LIMIT, || match Client::connect(&self.socket) {
            Ok(client) => Ok(Some(client)),
            Err(_) => self.check_alive().map(|()| None),
        })
    }

    /// Waits until the VM is Running, as `vm.info` shows it; gives what it showed.
    pub fn wait_running(&mut self, client: &mut Client) -> Result<serde_json::Value> {
        let info = request("GET", "vm.info");
        pace::until("the VM to be Running", LOOK, LIMIT, || {
            // Before the VM has been created there is none to be informed about.
            let (_, reply) = client.timed(&info).map_err(|error| self.explain(error))?;
            if reply.status != 200 {
                return Ok(None);
            }
            let info: serde_json::Value =
                serde_json::from_slice(&reply.body).context("vm.info is not JSON")?;
            Ok((info["state"] == "Running").then_some(info))
        })
    }

    /// Ends it in order.
    pub fn end(mut self) -> Result<()> {
        let mut client = Client::connect(&self.socket).context("cannot reach the API socket")?;
        client.succeed(&request("PUT", "vmm.shutdown"))?;
        if !self.wait_ended(LIMIT)? {
            bail!("the VMM has not ended {} s after vmm.shutdown", LIMIT.as_secs());
        }
        let status = self.child.wait().context("cannot wait for the VMM")?;
        if !status.success() {
            bail!("the VMM ended with {status}{}", self.said());
        }
        Ok(())
    }

    fn wait_ended(&self, limit: Duration) -> Result<bool> {
        let pid = Pid::from_child(&self.child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot open a pidfd")?;
        let limit = Timespec::try_from(limit).context("the limit is too long")?;
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        Ok(poll(&mut ended, Some(&limit)).context("cannot wait for the VMM")? > 0)
    }

    /// An error, with the VMM's own words, if it has ended.
    fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot look after the VMM")? {
            Some(status) => bail!("the VMM ended with {status}{}", self.said()),
            None => Ok(()),
        }
    }

    fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.check_alive() {
            Ok(()) => error,
            Err(ended) => ended,
        }
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        // Both fail only when it has ended and has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `stillpoint` program: the one given, else the one beside this program.
pub fn find(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given {
        if !path.is_file() {
            bail!("{}: there is no such program (--stillpoint)", path.display());
        }
        return Ok(path);
    }
    let own = std::env::current_exe().context("cannot find out where this program is")?;
    let path = own.with_file_name("stillpoint");
    if !path.is_file() {
        bail!(
            "there is no `stillpoint` beside this program ({}): build it with \
             `cargo build --release -p stillpoint`, or say where it is with --stillpoint PATH",
            path.display()
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cell::Guest;

    const LOAD: Load = Load { vcpus: NonZeroU32::MIN, guest: Guest::Halted };

    fn program(dir: &TempDir, script: &str) -> PathBuf {
        let path = dir.path().join("stillpoint");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_vmm_that_ends_at_once_is_quoted() {
        let dir = TempDir::new().unwrap();
        let path = program(&dir, "echo no luck today >&2; exit 3");
        let mut vmm = VmmProcess::spawn(&path, LOAD, Tie::None).unwrap();
        let error = vmm.connect().err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no luck today"), "{error}");
    }

    #[test]
    fn a_dropped_vmm_is_gone() {
        let dir = TempDir::new().unwrap();
        let path = program(&dir, "exec sleep 1000");
        let vmm = VmmProcess::spawn(&path, LOAD, Tie::ParentDeath).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", vmm.pid()));
        assert!(proc.exists());
        drop(vmm);
        assert!(!proc.exists());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = find(Some("/nowhere/stillpoint".into())).unwrap_err().to_string();
        assert!(error.contains("/nowhere/stillpoint") && error.contains("--stillpoint"), "{error}");
    }
}
