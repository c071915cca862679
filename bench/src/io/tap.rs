//! A tap in a network namespace that ends with the thread that made it, and what a plain program does with it.
//!
//! ```text
//!   UDP to everybody ─▶ tap's queue ─▶ read        (received: what lies in the queue was put there before)
//!   write ─▶ the host's network, where nobody wants it   (sent)
//! ```
#![expect(unsafe_code, reason = "a namespace, and ioctls on a tap")]

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::{Errno, read, write};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `struct virtio_net_hdr_v1`, which goes before each frame.
const HEADER: usize = 12;
/// Headers of Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;
const NAME: &[u8] = b"bench0";
/// `linux/if_tun.h`: IFF_TAP, IFF_NO_PI, IFF_VNET_HDR.
const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
/// IFF_UP (netdevice(7)).
const UP: u16 = 1;
const ADDRESS: &str = "10.0.0.1:0";
const EVERYBODY: &str = "10.255.255.255:6000";

/// Packets that the tap's queue is filled with, and how many it has room for: others may come, too.
pub const BURST: u64 = 8192;
const ROOM: u32 = 10_000;

/// Runs something on a thread in a network namespace of its own; whatever it starts lives in that, too.
pub fn in_namespace<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: the table of file descriptors, on which others rely, stays shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context(
                "a network namespace for the tap needs CAP_SYS_ADMIN and CAP_NET_ADMIN; `--only block,dispatch` needs none",
            )?;
            work()
        });
        thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })
}

/// The tap, with one queue.
pub struct Tap {
    queue: OwnedFd,
    sender: UdpSocket,
    buffer: Vec<u8>,
}

impl Tap {
    /// Makes it in this thread's namespace, and brings it up.
    pub fn new() -> Result<Self> {
        let mode =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
        let queue = rustix::fs::open("/dev/net/tun", mode, rustix::fs::Mode::empty())
            .context("cannot open /dev/net/tun")?;
        ask(&queue, libc::TUNSETIFF, &FLAGS.to_ne_bytes()).context("cannot make a tap")?;
        header_size(&queue).context("cannot set the size of the tap's header")?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let address = [2_u8, 0, 0, 0, 10, 0, 0, 1]; // AF_INET, no port
        let set: [(libc::c_ulong, &[u8], _); 3] = [
            (libc::SIOCSIFTXQLEN, &ROOM.to_ne_bytes(), "length of its queue"),
            (libc::SIOCSIFADDR, &address, "address"),
            (libc::SIOCSIFFLAGS, &UP.to_ne_bytes(), "flags"),
        ];
        for (request, argument, what) in set {
            ask(&socket, request, argument)
                .with_context(|| format!("cannot set the tap's {what}"))?;
        }
        let sender = UdpSocket::bind(ADDRESS)?;
        sender.set_broadcast(true)?;
        sender.connect(EVERYBODY)?;
        Ok(Self { queue, sender, buffer: vec![0; 1 << 16] })
    }

    /// Its descriptor, for a VM of this process.
    pub fn descriptor(&self) -> RawFd {
        self.queue.as_raw_fd()
    }

    /// Puts packets into its queue for whoever reads it next.
    pub fn fill(&self, bytes: usize) -> Result<()> {
        let data = vec![0x5A; bytes - HEADERS];
        for _ in 0..BURST {
            self.sender.send(&data).context("cannot put a packet into the tap")?;
        }
        Ok(())
    }

    /// Sends frames as a plain program does, one call each; how long that took.
    pub fn send(&mut self, packets: u64, bytes: usize) -> Result<Duration> {
        let packet = &mut self.buffer[..HEADER + bytes];
        packet.fill(0);
        // To everybody, of a type that nobody wants, as the guest's.
        packet[HEADER..HEADER + 14]
            .copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0, 0, 1, 0x88, 0xB5]);
        let begun = Instant::now();
        for _ in 0..packets {
            let sent = write(&self.queue, packet).context("cannot write to the tap")?;
            ensure!(sent == packet.len(), "the tap took {sent} bytes");
        }
        Ok(begun.elapsed())
    }

    /// Receives what is in its queue as a plain program does: how long it takes to get a whole burst.
    pub fn receive(&mut self, bytes: usize) -> Result<Duration> {
        let begun = Instant::now();
        let mut got = 0;
        while got < BURST {
            match read(&self.queue, &mut self.buffer[..]) {
                // Others are the host's own.
                Ok(len) => got += u64::from(len == HEADER + bytes),
                Err(Errno::AGAIN) => bail!("only {got} packets of {BURST} came through the tap"),
                Err(errno) => return Err(errno).context("cannot read from the tap"),
            }
        }
        Ok(begun.elapsed())
    }
}

/// How many packets the host has got by the tap of this thread's namespace so far, as the interface counts them.
pub fn arrived() -> Result<u64> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix("bench0:"));
    let packets = line.and_then(|line| line.split_whitespace().nth(1));
    packets.and_then(|packets| packets.parse().ok()).context("no count of the tap's packets")
}

/// A request about the interface: `struct ifreq` with the tap's name and this argument.
fn ask(fd: &impl AsRawFd, request: libc::c_ulong, argument: &[u8]) -> Result<()> {
    let mut bytes = [0_u8; 40];
    bytes[..NAME.len()].copy_from_slice(NAME);
    bytes[16..16 + argument.len()].copy_from_slice(argument);
    let mut interface = [0_u64; 5];
    for (word, bytes) in interface.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    // SAFETY: each of the requests reads and writes one `struct ifreq` of 40 bytes at most, in which none follows a pointer,
    // and which outlives the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), request, interface.as_mut_ptr()) };
    ensure!(done >= 0, std::io::Error::last_os_error());
    Ok(())
}

fn header_size(tap: &impl AsRawFd) -> Result<()> {
    let bytes = libc::c_int::try_from(HEADER)?;
    // SAFETY: the request reads one `int`, which outlives the call.
    let done = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const bytes) };
    ensure!(done >= 0, std::io::Error::last_os_error());
    Ok(())
}
