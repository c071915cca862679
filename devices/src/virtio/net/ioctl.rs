//! What the tap driver and interfaces are asked (`linux/if_tun.h`, netdevice(7)): each request with the one argument that it takes.
#![expect(unsafe_code, reason = "an ioctl takes an address or a number, as its request says")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::error::NetError;

/// Bytes of a name with the zero at its end (IFNAMSIZ).
const NAME: usize = 16;

/// `struct ifreq`: an interface's name, and what is asked or answered about it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct InterfaceRequest {
    name: [u8; NAME],
    data: [u8; 24],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());
const _: () = assert!(align_of::<InterfaceRequest>() >= align_of::<libc::ifreq>());

impl InterfaceRequest {
    /// About the interface with this name. The empty one asks the tap driver to choose.
    pub(super) fn new(name: &str) -> Result<Self, NetError> {
        let bad = |byte: u8| matches!(byte, b'/' | b':' | b'%' | 0) || byte.is_ascii_whitespace();
        if name.len() >= NAME || name.bytes().any(bad) || matches!(name, "." | "..") {
            return Err(NetError::Name(name.to_owned()));
        }
        let mut request = Self { name: [0; NAME], data: [0; 24] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    /// The name, as the kernel has completed it.
    pub(super) fn name(&self) -> String {
        let len = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        String::from_utf8_lossy(&self.name[..len]).into_owned()
    }

    /// With these bytes as its argument, of at most 24.
    pub(super) fn with<const N: usize>(mut self, data: [u8; N]) -> Self {
        const { assert!(N <= 24) };
        self.data[..N].copy_from_slice(&data);
        self
    }

    /// The first bytes of its argument or answer.
    pub(super) fn data<const N: usize>(&self) -> [u8; N] {
        const { assert!(N <= 24) };
        std::array::from_fn(|place| self.data[place])
    }
}

/// Requests whose argument is a `struct ifreq` that holds no address in turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// TUNSETIFF: attach to a tap; flags (16 bits).
    Attach,
    /// TUNGETIFF: which tap it is; flags.
    Which,
    /// TUNSETQUEUE: attach or detach the queue; flags.
    SetQueue,
    /// SIOCGIFFLAGS: flags.
    Flags,
    /// SIOCSIFFLAGS: flags.
    SetFlags,
    /// SIOCGIFMTU: 32 bits.
    Mtu,
    /// SIOCSIFMTU: 32 bits.
    SetMtu,
    /// SIOCSIFHWADDR: `struct sockaddr`.
    SetHardwareAddress,
    /// SIOCSIFADDR: `struct sockaddr_in`.
    SetAddress,
    /// SIOCSIFNETMASK: `struct sockaddr_in`.
    SetMask,
}

impl Op {
    const fn request(self) -> libc::Ioctl {
        match self {
            Self::Attach => libc::TUNSETIFF,
            Self::Which => libc::TUNGETIFF,
            Self::SetQueue => libc::TUNSETQUEUE,
            Self::Flags => libc::SIOCGIFFLAGS as libc::Ioctl,
            Self::SetFlags => libc::SIOCSIFFLAGS as libc::Ioctl,
            Self::Mtu => libc::SIOCGIFMTU as libc::Ioctl,
            Self::SetMtu => libc::SIOCSIFMTU as libc::Ioctl,
            Self::SetHardwareAddress => libc::SIOCSIFHWADDR as libc::Ioctl,
            Self::SetAddress => libc::SIOCSIFADDR as libc::Ioctl,
            Self::SetMask => libc::SIOCSIFNETMASK as libc::Ioctl,
        }
    }
}

/// Asks about an interface: a descriptor of the tap driver, or any socket.
pub(super) fn interface(
    fd: BorrowedFd<'_>,
    op: Op,
    request: &mut InterfaceRequest,
) -> io::Result<()> {
    // SAFETY: every request of `Op` reads and writes one `struct ifreq` at most, which `request` has the size and alignment of,
    // and in which none of them follows a pointer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), op.request(), &raw mut *request) };
    done(result)
}

/// TUNSETVNETHDRSZ: bytes of the header before each packet.
pub(super) fn set_header_size(fd: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    // SAFETY: the request reads one `int`, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const bytes) };
    done(result)
}

/// TUNSETOFFLOAD: what packets that are read may use.
pub(super) fn set_offloads(fd: BorrowedFd<'_>, bits: u32) -> io::Result<()> {
    // SAFETY: the request takes a number and no address.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(bits)) };
    done(result)
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for name in ["sixteen-bytes-xx", "a/b", "a b", "a:0", ".", "..", "tap\0", "tap%d"] {
            assert!(matches!(InterfaceRequest::new(name), Err(NetError::Name(_))), "{name}");
        }
        for name in ["", "t", "fifteen-bytes-x", "tap.7"] {
            assert_eq!(InterfaceRequest::new(name).unwrap().name(), name);
        }
    }
}
