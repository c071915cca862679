//! A tap with its queues: made or opened, configured, and given offloads.
//!
//! Invariants: queue 0 is always attached; of the others exactly those below `active`. A tap that could not be configured is
//! closed again, and with that gone if it was made here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::backend::Backend;
use super::error::NetError;
use super::ioctl::{self, InterfaceRequest, Op};
use super::offloads::Offloads;
use super::options::{HostAddress, NetOptions};
use crate::sync::atomic::{AtomicU16, Ordering};

/// Bytes of `struct virtio_net_hdr_v1`.
const HEADER: i32 = 12;
/// Flags of TUNSETIFF (`linux/if_tun.h`).
const TAP: u16 = 0x0002;
const MULTI_QUEUE: u16 = 0x0100;
const NO_PACKET_INFORMATION: u16 = 0x1000;
const VNET_HEADER: u16 = 0x4000;
/// Flags of TUNSETQUEUE.
const ATTACH: u16 = 0x0200;
const DETACH: u16 = 0x0400;
/// IFF_UP (netdevice(7)).
const UP: u16 = 1;
/// The MTU of Ethernet.
const ETHERNET_MTU: u16 = 1500;
/// ARPHRD_ETHER and AF_INET.
const ETHERNET: u16 = 1;
const INET: u16 = 2;

/// A tap.
pub(super) struct Tap {
    name: String,
    queues: Vec<OwnedFd>,
    offloads: Offloads,
    /// How many queues are attached. Changed by one thread at a time, see [`Backend`].
    active: AtomicU16,
    mtu: u16,
    /// Says to other VMs that a tap that the kernel would let them share is taken.
    _taken: Option<OwnedFd>,
}

impl Tap {
    /// Makes or opens what the options ask for.
    pub(super) fn open(options: &mut NetOptions) -> Result<Self, NetError> {
        let fds = std::mem::take(&mut options.fds);
        let tap = if fds.is_empty() {
            let mut tap =
                Self::attach(options.tap.as_deref().unwrap_or_default(), options.pairs())?;
            let socket = tap.socket()?;
            tap.configure(&socket, options)?;
            tap.mtu = tap.read_mtu(&socket)?;
            tap
        } else {
            let mut tap = Self::adopt(fds)?;
            // Its interface may be in another network namespace, where it has no name that could be asked for.
            let asked = || tap.read_mtu(&tap.socket()?);
            tap.mtu = options.mtu.or_else(|| asked().ok()).unwrap_or(ETHERNET_MTU);
            tap
        };
        tap.ready()
    }

    /// Makes it what a card that is not in use needs.
    fn ready(mut self) -> Result<Self, NetError> {
        let tap = &mut self;
        for queue in &tap.queues {
            let sized = ioctl::set_header_size(queue.as_fd(), HEADER);
            tap.configured("set the header's size", sized)?;
        }
        tap.offloads = tap.probe();
        tap.configured("turn queues off", tap.set_active(1))?;
        Ok(self)
    }

    /// Bytes that a packet may have behind its Ethernet header.
    pub(super) fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Attaches to the tap with this name (the empty one: a new one), a queue for each pair.
    fn attach(name: &str, pairs: u16) -> Result<Self, NetError> {
        let mut request = InterfaceRequest::new(name)?;
        let flags = TAP | NO_PACKET_INFORMATION | VNET_HEADER;
        let several = if pairs > 1 { MULTI_QUEUE } else { 0 };
        // Before a queue is attached, where the kernel is not to choose the name: packets would go to a queue of somebody
        // who is then refused, and the link would change.
        let is_given = !name.is_empty() && !name.contains('%');
        let take_given = || is_given.then(|| take(name)).transpose();
        let mut taken = if pairs > 1 { take_given()? } else { None };
        let first = match attach_queue(&mut request, flags | several) {
            // A tap for several queues takes one only like this.
            Err(Refusal::Errno(Errno::INVAL)) if pairs == 1 => {
                taken = take_given()?;
                attach_queue(&mut request, flags | MULTI_QUEUE)
            }
            result => result,
        };
        let mut queues = vec![first.map_err(|refusal| refusal.of(name))?];
        let name = request.name();
        let shared = u16::from_ne_bytes(request.data()) & MULTI_QUEUE != 0;
        if shared && taken.is_none() {
            taken = Some(take(&name)?);
        }
        for _ in 1..pairs {
            let queue = attach_queue(&mut request, flags | several);
            queues.push(queue.map_err(|refusal| refusal.of(&name))?);
        }
        Ok(Self::new(name, queues, pairs, taken))
    }

    /// Uses queues that somebody else has attached.
    fn adopt(fds: Vec<OwnedFd>) -> Result<Self, NetError> {
        let mut name = String::new();
        for (place, fd) in fds.iter().enumerate() {
            let no_tap = |source| NetError::NoTap { place, source };
            let mut request = InterfaceRequest::new("")?;
            ioctl::interface(fd.as_fd(), Op::Which, &mut request).map_err(no_tap)?;
            if u16::from_ne_bytes(request.data()) & VNET_HEADER == 0 {
                return Err(no_tap(io::Error::other("it has no headers")));
            }
            let flags = fcntl_getfl(fd).and_then(|flags| fcntl_setfl(fd, flags | OFlags::NONBLOCK));
            flags.map_err(|errno| no_tap(errno.into()))?;
            if place == 0 {
                name = request.name();
            } else if name != request.name() {
                return Err(no_tap(io::Error::other("it is of another tap than the first")));
            }
        }
        let pairs = u16::try_from(fds.len()).map_err(|_| NetError::Queues(u16::MAX))?;
        Ok(Self::new(name, fds, pairs, None))
    }

    fn new(name: String, queues: Vec<OwnedFd>, pairs: u16, taken: Option<OwnedFd>) -> Self {
        let active = AtomicU16::new(pairs);
        Self { name, queues, offloads: Offloads::NONE, active, mtu: 0, _taken: taken }
    }

    /// A socket for questions about interfaces.
    fn socket(&self) -> Result<OwnedFd, NetError> {
        let kind = SocketType::DGRAM;
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None);
        self.configured("ask about the interface", socket.map_err(io::Error::from))
    }

    /// Sets what the options say, and brings the interface up. What is as it should be is not touched: the user of a persistent
    /// tap may not have the privilege.
    fn configure(&self, socket: &OwnedFd, options: &NetOptions) -> Result<(), NetError> {
        let ask =
            |op, request: &mut InterfaceRequest| ioctl::interface(socket.as_fd(), op, request);
        let set = |what, op, mut request| self.configured(what, ask(op, &mut request));
        let request = InterfaceRequest::new(&self.name)?;
        if let Some(mac) = options.host_mac {
            let mut address = [0; 8];
            address[..2].copy_from_slice(&ETHERNET.to_ne_bytes());
            address[2..].copy_from_slice(&mac.0);
            set("set the MAC address", Op::SetHardwareAddress, request.with(address))?;
        }
        if let Some(mtu) = options.mtu
            && mtu != self.read_mtu(socket)?
        {
            set("set the MTU", Op::SetMtu, request.with(u32::from(mtu).to_ne_bytes()))?;
        }
        if let Some(HostAddress { ip, mask }) = options.address {
            set("set the IP address", Op::SetAddress, request.with(inet(ip.octets())))?;
            set("set the network mask", Op::SetMask, request.with(inet(mask.octets())))?;
        }
        let mut flags = request;
        self.configured("read the flags", ask(Op::Flags, &mut flags))?;
        let flags = u16::from_ne_bytes(flags.data());
        if flags & UP == 0 {
            set("bring up the interface", Op::SetFlags, request.with((flags | UP).to_ne_bytes()))?;
        }
        Ok(())
    }

    fn read_mtu(&self, socket: &OwnedFd) -> Result<u16, NetError> {
        let mut request = InterfaceRequest::new(&self.name)?;
        let read = ioctl::interface(socket.as_fd(), Op::Mtu, &mut request);
        self.configured("read the MTU", read)?;
        Ok(u16::try_from(u32::from_ne_bytes(request.data())).unwrap_or(u16::MAX))
    }

    /// What this kernel's taps can do.
    fn probe(&self) -> Offloads {
        let tries = [Offloads::ALL, Offloads::ALL.without(Offloads::UFO), Offloads::CHECKSUM];
        let can = tries.into_iter().find(|tried| self.set_offloads(*tried).is_ok());
        // None, until the driver has said what it takes. A tap that refuses even that can do nothing else either.
        let _ = self.set_offloads(Offloads::NONE);
        can.unwrap_or_default()
    }

    fn configured<T>(&self, what: &'static str, result: io::Result<T>) -> Result<T, NetError> {
        result.map_err(|source| NetError::Configure { what, tap: self.name.clone(), source })
    }

    fn set_queue(&self, queue: u16, flags: u16) -> io::Result<()> {
        let queue = self.queues.get(usize::from(queue)).ok_or(Errno::INVAL)?;
        let mut request = InterfaceRequest::new("").map_err(io::Error::other)?;
        request = request.with(flags.to_ne_bytes());
        ioctl::interface(queue.as_fd(), Op::SetQueue, &mut request)
    }
}

impl Backend for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn queues(&self) -> &[OwnedFd] {
        &self.queues
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn set_offloads(&self, offloads: Offloads) -> io::Result<()> {
        // It is a setting of the tap, which its queue 0 always reaches.
        ioctl::set_offloads(self.queues[0].as_fd(), offloads.bits())
    }

    fn set_active(&self, pairs: u16) -> io::Result<()> {
        // Relaxed: one thread at a time, and who is next has been told by the one before.
        let active = self.active.load(Ordering::Relaxed);
        for queue in active..pairs {
            self.set_queue(queue, ATTACH)?;
            self.active.store(queue + 1, Ordering::Relaxed);
        }
        for queue in (pairs.max(1)..active).rev() {
            self.set_queue(queue, DETACH)?;
            self.active.store(queue, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// `struct sockaddr_in` without a port.
fn inet(address: [u8; 4]) -> [u8; 8] {
    let [f0, f1] = INET.to_ne_bytes();
    let [a, b, c, d] = address;
    [f0, f1, 0, 0, a, b, c, d]
}

/// Why a queue was not attached.
enum Refusal {
    Driver(io::Error),
    Errno(Errno),
}

impl Refusal {
    fn of(self, name: &str) -> NetError {
        let tap = if name.is_empty() { "of a name that is free".into() } else { name.to_owned() };
        match self {
            Self::Driver(source) => NetError::NoDriver(source),
            Self::Errno(Errno::PERM | Errno::ACCESS) => NetError::NotPermitted { tap },
            Self::Errno(Errno::BUSY) => NetError::InUse { tap },
            Self::Errno(Errno::INVAL) => NetError::Unsuitable { tap },
            Self::Errno(errno) => {
                let source = errno.into();
                NetError::Configure { what: "attach to a queue", tap, source }
            }
        }
    }
}

fn attach_queue(request: &mut InterfaceRequest, flags: u16) -> Result<OwnedFd, Refusal> {
    let mode = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let driver = |errno: Errno| Refusal::Driver(errno.into());
    let queue = open("/dev/net/tun", mode, Mode::empty()).map_err(driver)?;
    *request = request.with(flags.to_ne_bytes());
    match ioctl::interface(queue.as_fd(), Op::Attach, request) {
        Ok(()) => Ok(queue),
        Err(error) => Err(Refusal::Errno(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

/// Takes a tap that the kernel would let others share, by a name that one socket in a network namespace can have.
fn take(name: &str) -> Result<OwnedFd, NetError> {
    let host = |errno: Errno| NetError::Host { what: "take the tap", source: errno.into() };
    let address = SocketAddrUnix::new_abstract_name(format!("stillpoint/tap/{name}").as_bytes());
    let kind = SocketType::DGRAM;
    let socket =
        socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(host)?;
    match bind(&socket, &address.map_err(host)?) {
        Ok(()) => Ok(socket),
        Err(Errno::ADDRINUSE) => Err(NetError::InUse { tap: name.to_owned() }),
        Err(errno) => Err(host(errno)),
    }
}
