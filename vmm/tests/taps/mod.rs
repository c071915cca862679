//! A network namespace of a test's own, and what the kernel tells of a link in it.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::embedded::HANG;

/// Runs a test on a thread in a network namespace of its own, which all threads and programs that it starts are in.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: only the table of file descriptors must not be unshared, and is not.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("CAP_SYS_ADMIN");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Messages about links (rtnetlink(7)), in the order of the changes that they tell of.
pub struct Links(OwnedFd);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub is_gone: bool,
    /// It is up, and something is attached to it.
    pub has_carrier: bool,
    /// How often that has changed.
    pub carrier_changes: u32,
    pub name: String,
    /// A note that its administrator has made.
    pub alias: String,
}

const RTMGRP_LINK: u32 = 1;
const RTM_DELLINK: u16 = 17;
/// IFF_UP, IFF_LOWER_UP.
const CARRIER: u32 = 1 | 1 << 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_IFALIAS: u16 = 20;
const IFLA_CARRIER_CHANGES: u16 = 35;

impl Links {
    /// Hears of every change from now on.
    pub fn new() -> Self {
        // No protocol: number 0, which is that of routes and links.
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::RAW, flags, None).unwrap();
        bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK)).unwrap();
        Self(socket)
    }

    /// Makes a note at the link, which the kernel tells of as of every change: the messages up to that one, which is the last.
    pub fn until_noted(&self, name: &str, note: &str) -> Vec<Link> {
        let arguments = ["link", "set", "dev", name, "alias", note];
        let done = Command::new("ip").args(arguments).output().expect("ip(8)");
        assert!(done.status.success(), "{done:?}");
        let mut told = Vec::new();
        while told.last().is_none_or(|link: &Link| link.alias != note) {
            let limit = Timespec { tv_sec: HANG.as_secs().cast_signed(), tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit)).unwrap();
            assert!(ready > 0, "waited in vain for {note:?} after {told:?}");
            let mut message = [0; 16 << 10];
            let (read, _) = recv(&self.0, &mut message[..], RecvFlags::empty()).unwrap();
            told.push(Link::of(&message[..read]));
        }
        told
    }
}

impl Link {
    /// From a message: its header, that of a link, and attributes.
    fn of(message: &[u8]) -> Self {
        let half = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
        let mut link = Self {
            index: word(20),
            is_gone: half(4) == RTM_DELLINK,
            has_carrier: word(24) & CARRIER == CARRIER,
            carrier_changes: 0,
            name: String::new(),
            alias: String::new(),
        };
        let mut at = 32;
        while at + 4 <= message.len() {
            let (length, value) = (usize::from(half(at)), at + 4);
            let text = || String::from_utf8_lossy(&message[value..at + length]);
            let text = || text().trim_end_matches('\0').to_owned();
            match half(at + 2) {
                IFLA_IFNAME => link.name = text(),
                IFLA_IFALIAS => link.alias = text(),
                IFLA_CARRIER_CHANGES => link.carrier_changes = word(value),
                _ => {}
            }
            at += length.next_multiple_of(4).max(4);
        }
        link
    }
}
