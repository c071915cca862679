//! The commands that ask a VM for one thing.
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::Target;
use crate::client::ClientError;
use crate::failure::Failure;
use crate::target::{Found, find};

/// How long an orderly end may take.
const ORDERLY: i64 = 30;
/// How long `kill` waits for an answer, and for each signal to take effect.
const IMPATIENT: i64 = 3;

/// One request without an answer, such as `vm.pause`.
pub fn put(target: &Target, endpoint: &str) -> Result<(), Failure> {
    let mut found = find(target)?;
    found.client.put(endpoint).map_err(|error| found.failure(&error))
}

/// `vm.shutdown`, then `vmm.shutdown`, then waits until the process is gone.
pub fn stop(target: &Target) -> Result<(), Failure> {
    let mut found = find(target)?;
    let process = process_of(&found)?;
    set_timeout(&found, ORDERLY)?;
    match found.client.put("vm.shutdown") {
        Ok(()) => {}
        // There is no VM, or it has been shut down already.
        Err(error) if matches!(error.status(), Some(404 | 405)) => {}
        Err(error) => return Err(found.failure(&error)),
    }
    found.client.put("vmm.shutdown").map_err(|error| found.failure(&error))?;
    if has_ended(&process, ORDERLY)? {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{}: has not ended within {ORDERLY} seconds; `stillpoint kill` ends it",
        found.name
    )))
}

/// `vmm.shutdown`; SIGTERM if there is no answer; SIGKILL if that does not help.
pub fn kill(target: &Target) -> Result<(), Failure> {
    let mut found = find(target)?;
    let process = process_of(&found)?;
    set_timeout(&found, IMPATIENT)?;
    let answer = found.client.put("vmm.shutdown");
    if answer.is_ok() && has_ended(&process, IMPATIENT)? {
        return Ok(());
    }
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(Failure::of(&found.name, &std::io::Error::from(error))),
        }
        if has_ended(&process, IMPATIENT)? {
            // After SIGKILL the socket is left behind.
            vmm::api::remove_stale(&found.socket)?;
            return Ok(());
        }
    }
    Err(Failure::Failed(format!("{}: the process does not even end by SIGKILL", found.name)))
}

fn set_timeout(found: &Found, seconds: i64) -> Result<(), Failure> {
    let limit = Duration::from_secs(seconds.unsigned_abs());
    found.client.set_timeout(limit).map_err(|error| found.failure(&error))
}

/// The process behind the socket. A descriptor of it cannot come to mean another process, as its
/// number could.
fn process_of(found: &Found) -> Result<OwnedFd, Failure> {
    let missing = || ClientError::NotRunning(found.socket.clone());
    let pid = found.client.pid().ok_or_else(missing)?;
    pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| Failure::of(&found.name, &std::io::Error::from(error)))
}

fn has_ended(process: &OwnedFd, seconds: i64) -> Result<bool, Failure> {
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    loop {
        // A process that has ended makes its descriptor readable (pidfd_open(2)).
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::of("poll", &std::io::Error::from(error))),
        }
    }
}
