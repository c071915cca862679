//! The lock of an image: two VMs must not write it, and none may write what another reads.
//!
//! It is an open file description lock (`F_OFD_SETLK`) of the whole file: it holds
//! within one process, too, and it conflicts with the locks that QEMU's tools set. It is taken back by name when the
//! image is closed: a child process that is about to be executed may have a copy of the descriptor for a moment longer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::virtio::block::options::Access;

/// The lock of a file, until it is dropped.
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Locks the file for writing by us alone, or for reading by everybody.
    ///
    /// # Errors
    /// `WouldBlock`: somebody else has locked it.
    pub fn take(file: &File, access: Access) -> io::Result<Self> {
        let kind = match access {
            Access::ReadWrite => libc::F_WRLCK,
            Access::ReadOnly => libc::F_RDLCK,
        };
        // Another descriptor of the same description.
        let file = file.try_clone()?;
        set(&file, kind)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it fails, closing the last descriptor does the same.
        let _ = set(&self.file, libc::F_UNLCK);
    }
}

#[expect(unsafe_code, reason = "rustix has no locks of open file descriptions")]
fn set(file: &File, kind: libc::c_int) -> io::Result<()> {
    // These constants are small.
    let narrow = |value: libc::c_int| libc::c_short::try_from(value).map_err(io::Error::other);
    let whole = libc::flock {
        l_type: narrow(kind)?,
        l_whence: narrow(libc::SEEK_SET)?,
        l_start: 0,
        // To the end, wherever that moves.
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel only reads the structure, which lives during the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // POSIX allows EACCES for a conflict.
    if error.raw_os_error() == Some(libc::EACCES) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Err(error)
}
