//! The kernel's side of userfaultfd: numbers and structures that neither rustix nor libc has (Linux include/uapi/linux/userfaultfd.h).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::mm::UserfaultfdFlags;

/// `UFFD_API`, the only version that there is.
pub(super) const API: u64 = 0xAA;
/// A bit of `uffdio_register::mode`: pages that are not there fault.
pub(super) const MODE_MISSING: u64 = 1;
/// `UFFD_EVENT_PAGEFAULT`.
pub(super) const EVENT_PAGE_FAULT: u8 = 0x12;

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Api {
    pub(super) version: u64,
    pub(super) features: u64,
    pub(super) ioctls: u64,
}

/// `struct uffdio_range`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) range: Range,
    pub(super) mode: u64,
    pub(super) ioctls: u64,
}

/// `struct uffdio_copy`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct CopyPages {
    pub(super) to: u64,
    pub(super) from: u64,
    pub(super) len: u64,
    pub(super) mode: u64,
    /// Bytes that were placed, or an error as a negative number.
    pub(super) placed: i64,
}

/// `struct uffdio_zeropage`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Zeros {
    pub(super) range: Range,
    pub(super) mode: u64,
    /// As in [`CopyPages`].
    pub(super) placed: i64,
}

/// `struct uffd_msg`, with what a page fault has to tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event {
    pub(super) kind: u8,
    reserved: [u8; 7],
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) thread: u64,
}

vmm_sys_util::ioctl_io_nr!(NEW, 0xAA, 0x00);
vmm_sys_util::ioctl_iowr_nr!(API_IOCTL, 0xAA, 0x3F, Api);
vmm_sys_util::ioctl_iowr_nr!(REGISTER, 0xAA, 0x00, Register);
vmm_sys_util::ioctl_ior_nr!(UNREGISTER, 0xAA, 0x01, Range);
vmm_sys_util::ioctl_ior_nr!(WAKE, 0xAA, 0x02, Range);
vmm_sys_util::ioctl_iowr_nr!(COPY, 0xAA, 0x03, CopyPages);
vmm_sys_util::ioctl_iowr_nr!(ZEROS, 0xAA, 0x04, Zeros);

/// A request whose structure the kernel reads, and answers in.
pub(super) trait Request {
    /// Its number.
    fn number(&self) -> libc::c_ulong;
}

macro_rules! requests {
    ($($structure:ty => $number:expr),*) => {$(
        impl Request for $structure {
            fn number(&self) -> libc::c_ulong {
                $number
            }
        }
    )*};
}
requests!(Api => API_IOCTL(), Register => REGISTER(), CopyPages => COPY(), Zeros => ZEROS());

/// A range that is not watched any more.
#[repr(transparent)]
pub(super) struct Unregister(pub(super) Range);

/// A range whose waiters look again.
#[repr(transparent)]
pub(super) struct Wake(pub(super) Range);

impl Request for Unregister {
    fn number(&self) -> libc::c_ulong {
        UNREGISTER()
    }
}

impl Request for Wake {
    fn number(&self) -> libc::c_ulong {
        WAKE()
    }
}

/// A descriptor that sees what the kernel touches for the process, too: from the device, for which its permissions decide, or by the system call,
/// for which `vm.unprivileged_userfaultfd` and CAP_SYS_PTRACE do.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
    if let Ok(device) = File::options().read(true).write(true).open("/dev/userfaultfd") {
        // SAFETY: the request takes flags and no pointer; it makes a descriptor, or fails.
        let made = unsafe { libc::ioctl(device.as_raw_fd(), NEW(), flags.bits()) };
        if made >= 0 {
            // SAFETY: the kernel has just made it, for this caller alone.
            return Ok(unsafe { OwnedFd::from_raw_fd(made) });
        }
    }
    // SAFETY: what may be done with it, `Uffd` sees to.
    Ok(unsafe { rustix::mm::userfaultfd(flags) }?)
}

/// Makes a request of a userfaultfd.
///
/// # Safety
/// Addresses in it are of guest RAM (for [`CopyPages`], `from` of as many readable bytes as `len`), which stays mapped meanwhile.
pub(super) unsafe fn request<R: Request>(fd: &OwnedFd, of: &mut R) -> io::Result<()> {
    // SAFETY: the structure is the one that goes with the number (`requests!`); the caller answers for the addresses in it.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), of.number(), std::ptr::from_mut(of)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next event, if there is one.
pub(super) fn read(fd: &OwnedFd) -> io::Result<Option<Event>> {
    let mut bytes = [0; size_of::<Event>()];
    match rustix::io::read(fd, &mut bytes) {
        Ok(read) if read == bytes.len() => {
            let word = |at: usize| {
                let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
                part.map_or(0, u64::from_ne_bytes)
            };
            let kind = bytes.first().copied().unwrap_or(0);
            let (flags, address, thread) = (word(8), word(16), word(24));
            Ok(Some(Event { kind, flags, address, thread, ..Event::default() }))
        }
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const _: () = {
    assert!(size_of::<Api>() == 24 && size_of::<Register>() == 32 && size_of::<Event>() == 32);
    assert!(size_of::<CopyPages>() == 40 && size_of::<Zeros>() == 32);
};
