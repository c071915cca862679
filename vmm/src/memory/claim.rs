//! Whose memory is that two VMMs have mapped, when one takes it over from the other: a lock on the memfd (flock(2)), as on a disk's image.
//!
//! ```text
//!   source:       claim ─▶ passes it ─▶ release ─▶ Commit        keeps its VM, or is told to: claim
//!   destination:  reopen ───────────────────────────▶ claim ─▶ starts      gives up: release
//! ```
//!
//! The lock belongs to an open file description. A descriptor that was passed is of the sender's, so the receiver opens the file anew, for one of its own.
//!
//! Invariant: a VM that was handed over so, or is kept after a doubt, has the lock for as long as it is there; so who is wrong about whose it is gets an error.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::GuestRam;
use super::ram::Backing;

/// Another VMM has the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another VMM has taken over the VM's memory")]
pub struct Claimed;

/// The same file, opened anew.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(true).open(path)
}

impl GuestRam {
    /// Has nobody else take it over, until [`release`](Self::release). Twice is once.
    ///
    /// # Errors
    /// Somebody has.
    pub fn claim(&self) -> Result<(), Claimed> {
        let Backing::Memfd(file) = self.backing() else { return Ok(()) };
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Claimed),
            Ok(()) => Ok(()),
            Err(error) => {
                // A memfd can be locked wherever this program runs; if not, nobody else has locked it.
                tracing::warn!(%error, "the VM's memory cannot be locked");
                Ok(())
            }
        }
    }

    /// Somebody else may have it.
    pub fn release(&self) {
        if let Backing::Memfd(file) = self.backing() {
            // Fails only if it was never locked.
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}
