//! Socket pairs in the place of a tap's queues.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::virtio::net::{Backend, Offloads};

pub(super) struct Double {
    near: Vec<OwnedFd>,
    far: Vec<OwnedFd>,
    can: Offloads,
    pub(super) offloads: AtomicU32,
    pub(super) active: AtomicU16,
}

impl Double {
    pub(super) fn new(pairs: u16, can: Offloads) -> Self {
        let pair = |_| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
        };
        let (near, far) = (0..pairs).map(pair).unzip();
        let (offloads, active) = (AtomicU32::new(u32::MAX), AtomicU16::new(pairs));
        Self { near, far, can, offloads, active }
    }

    /// Sends a packet to the guest.
    pub(super) fn send(&self, queue: usize, packet: &[u8]) {
        assert_eq!(write(&self.far[queue], packet), Ok(packet.len()));
    }

    /// A packet that the guest has sent.
    pub(super) fn receive(&self, queue: usize) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1 << 17];
        match read(&self.far[queue], &mut packet) {
            Ok(len) => {
                packet.truncate(len);
                Some(packet)
            }
            Err(errno) => {
                assert_eq!(errno, Errno::AGAIN);
                None
            }
        }
    }

    /// Fills the way to the host up; how many packets of the other end's that takes to be read.
    pub(super) fn fill(&self, queue: usize) -> usize {
        (0..100_000).take_while(|_| write(&self.near[queue], &[0xFF; 1000]).is_ok()).count()
    }
}

impl Backend for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn queues(&self) -> &[OwnedFd] {
        &self.near
    }

    fn offloads(&self) -> Offloads {
        self.can
    }

    fn set_offloads(&self, offloads: Offloads) -> io::Result<()> {
        self.offloads.store(offloads.bits(), Ordering::SeqCst);
        Ok(())
    }

    fn set_active(&self, pairs: u16) -> io::Result<()> {
        self.active.store(pairs, Ordering::SeqCst);
        Ok(())
    }
}
