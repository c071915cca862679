//! The lock of an image: two VMs must not write it, and none may write what another reads.
//!
//! It is an open file description lock (`F_OFD_SETLK`) of the whole file: it lasts as long as the description, it
//! holds within one process, too, and it conflicts with the locks that QEMU's tools set.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::virtio::block::options::Access;

/// Locks the file for writing by us alone, or for reading by everybody.
///
/// # Errors
/// `WouldBlock`: somebody else has locked it.
#[expect(unsafe_code, reason = "rustix has no locks of open file descriptions")]
pub(super) fn lock(file: &File, access: Access) -> io::Result<()> {
    let kind = match access {
        Access::ReadWrite => libc::F_WRLCK,
        Access::ReadOnly => libc::F_RDLCK,
    };
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
