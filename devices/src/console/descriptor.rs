//! A file descriptor of the host side that never blocks.
//!
//! `O_NONBLOCK` belongs to the open file description, which a terminal or pipe that was
//! inherited shares with the shell and with others who do not expect it. So a description of our
//! own is opened where that can be done (terminals, pipes). Where it cannot (sockets), the
//! flag is set on the shared one and taken away again at the end. Regular files do not block in
//! this sense; they are used as they are, which also keeps their position.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, major, minor, open};
use rustix::io::Result;
use rustix::termios::isatty;

/// Device number of `/dev/ptmx`: opening a pseudo-terminal's master again makes a new pair.
const PTMX: (u32, u32) = (5, 2);

/// A file descriptor that never blocks.
pub(super) struct Descriptor {
    fd: OwnedFd,
    /// The flags to put back at the end.
    shared: Option<OFlags>,
    regular: bool,
}

impl Descriptor {
    /// For a descriptor whose description is ours alone and non-blocking.
    pub(super) fn own(fd: OwnedFd) -> Self {
        Self { fd, shared: None, regular: false }
    }

    /// For a descriptor that others may share.
    pub(super) fn inherited(fd: OwnedFd) -> Result<Self> {
        let stat = fstat(&fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if matches!(kind, FileType::RegularFile | FileType::BlockDevice | FileType::Directory) {
            return Ok(Self { fd, shared: None, regular: true });
        }
        let flags = fcntl_getfl(&fd)?;
        if flags.contains(OFlags::NONBLOCK) {
            return Ok(Self::own(fd));
        }
        let master = (major(stat.st_rdev), minor(stat.st_rdev)) == PTMX;
        if kind == FileType::Fifo || (isatty(&fd) && !master) {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let mode = flags & OFlags::RWMODE;
            let again = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            // It fails without /proc, or on a terminal of another user.
            if let Ok(own) = open(path, again, Mode::empty()) {
                return Ok(Self::own(own));
            }
        }
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd, shared: Some(flags), regular: false })
    }

    /// For a file that was opened by us: a regular one, or a pipe or device opened non-blocking.
    pub(super) fn opened(fd: OwnedFd) -> Result<Self> {
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        Ok(Self { fd, shared: None, regular: kind == FileType::RegularFile })
    }

    /// Whether an error in writing may pass (a full disk), rather than mean that nobody is there
    /// any more.
    pub(super) fn is_regular(&self) -> bool {
        self.regular
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(flags) = self.shared {
            // There is nobody to tell, and nothing else to try.
            let _ = fcntl_setfl(&self.fd, flags);
        }
    }
}
