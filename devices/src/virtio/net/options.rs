//! What a network card is made with.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use super::error::NetError;
use super::mac::MacAddress;
use super::offloads::Offloads;
use crate::virtio::limit::Limits;

/// The address of the tap's own, host side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub ip: Ipv4Addr,
    /// The mask of its network.
    pub mask: Ipv4Addr,
}

/// What a network card is made with.
#[derive(Debug)]
pub struct NetOptions {
    /// The tap's name; it is made if it does not exist, and ends with the card unless it was made persistent. `None`: the
    /// kernel chooses a name.
    pub tap: Option<String>,
    /// Queues of a tap that somebody else has opened (with IFF_VNET_HDR), instead of a name: one for each queue pair. The interface is
    /// left as it is, and may be in another network namespace.
    pub fds: Vec<OwnedFd>,
    /// The guest's address; `None`: a random one.
    pub mac: Option<MacAddress>,
    /// The address of the tap's host side, if it is to be changed.
    pub host_mac: Option<MacAddress>,
    /// The IP address of the tap's host side, if it is to be set.
    pub address: Option<HostAddress>,
    /// Bytes that a packet may have behind its Ethernet header; `None`: what the tap has.
    pub mtu: Option<u16>,
    /// Receive and transmit queues together: an even number, 2 for one pair.
    pub num_queues: u16,
    /// Descriptors of each queue: a power of two.
    pub queue_size: u16,
    /// What may be offered to the guest.
    pub offloads: Offloads,
    /// What the guest may send in a time, and as much again what it may receive, by all queues together.
    pub limits: Limits,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            tap: None,
            fds: Vec::new(),
            mac: None,
            host_mac: None,
            address: None,
            mtu: None,
            num_queues: 2,
            queue_size: 256,
            offloads: Offloads::ALL,
            limits: Limits::default(),
        }
    }
}

impl NetOptions {
    /// The most queues: 256 is what a tap can have for each direction.
    pub const MOST_QUEUES: u16 = 512;
    /// The largest queue. A chain may have as many buffers as the queue has descriptors, and one system call takes 1024.
    pub const LARGEST_QUEUE: u16 = 1024;
    /// The least MTU (virtio 1.2, 5.1.4.1: 68, as in RFC 791).
    pub const LEAST_MTU: u16 = 68;

    /// How many queue pairs they ask for.
    pub(super) fn pairs(&self) -> u16 {
        self.num_queues / 2
    }

    pub(super) fn check(&self) -> Result<(), NetError> {
        let queues = self.num_queues;
        if queues < 2 || !queues.is_multiple_of(2) || queues > Self::MOST_QUEUES {
            return Err(NetError::Queues(queues));
        }
        if !self.fds.is_empty() && self.fds.len() != usize::from(self.pairs()) {
            return Err(NetError::Descriptors { fds: self.fds.len(), pairs: self.pairs() });
        }
        if !self.fds.is_empty() && self.tap.is_some() {
            return Err(NetError::TapAndDescriptors);
        }
        if !self.queue_size.is_power_of_two() || self.queue_size > Self::LARGEST_QUEUE {
            return Err(NetError::QueueSize(self.queue_size));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| *mtu < Self::LEAST_MTU) {
            return Err(NetError::Mtu(mtu));
        }
        let addresses = [self.mac, self.host_mac];
        match addresses.into_iter().flatten().find(|address| !address.is_station()) {
            Some(address) => Err(NetError::Group(address)),
            None => Ok(()),
        }
    }
}
