//! `run --detach`: the VMM as a process in the background.
//!
//! ```text
//!  parent                               child: the same command with --detached, in a new session
//!    spawn ──────────────────────────────▶ boots the VM
//!    read its standard output ◀─────────── "running NAME", "waiting NAME URL" or "error MESSAGE"
//!    report                                lets go of standard output and error, goes on
//! ```
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::output::print;

const RUNNING: &str = "running ";
const WAITING: &str = "waiting ";
const ERROR: &str = "error ";

/// Starts the child and returns when its VM runs.
pub fn spawn() -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::of("cannot start the VMM", error);
    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let pid = child.id();
    let mut report = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut report).map_err(|error| failed(&error))?;
    }
    let report = report.trim_end();
    if let Some(name) = report.strip_prefix(RUNNING) {
        return print(&format!("{name}: running, pid {pid}\n"));
    }
    if let Some((name, url)) = report.strip_prefix(WAITING).and_then(|it| it.split_once(' ')) {
        return print(&format!("{name}: waiting for a VM on {url}, pid {pid}\n"));
    }
    let status = child.wait().map_err(|error| failed(&error))?;
    match report.strip_prefix(ERROR) {
        Some(message) => Err(Failure::Failed(message.to_owned())),
        None => Err(Failure::Failed(format!("the VMM ended before the VM ran: {status}"))),
    }
}

/// In the child: leaves the terminal's session, so that its end is not this process's.
pub fn leave_session() {
    if let Err(error) = rustix::process::setsid() {
        // Only a process that leads a group cannot; then it has a session of its own already.
        tracing::debug!(%error, "setsid");
    }
}

/// In the child: tells the parent and lets go of what it shares with it.
pub fn report_running(name: &str) -> Result<(), Failure> {
    let_go_with(&format!("{RUNNING}{name}"))
}

/// The same of a VMM that waits for a VM.
pub fn report_waiting(name: &str, url: &str) -> Result<(), Failure> {
    let_go_with(&format!("{WAITING}{name} {url}"))
}

fn let_go_with(line: &str) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::of("cannot go into the background", error);
    report(line).map_err(|error| failed(&error))?;
    let null = File::options().write(true).open("/dev/null").map_err(|error| failed(&error))?;
    let let_go = rustix::stdio::dup2_stdout(null.as_fd())
        .and_then(|()| rustix::stdio::dup2_stderr(null.as_fd()));
    let_go.map_err(|error| failed(&error.into()))
}

/// In the child: tells the parent what went wrong.
pub fn report_error(message: &str) {
    // If the parent is gone, nobody wants to know.
    let _ = report(&format!("{ERROR}{message}"));
}

fn report(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
