//! What a connection has for the guest: the host's bytes, and what the guest has to be told.
//!
//! ```text
//!   REQUEST or RESPONSE ─▶ bytes, as long as there are some and the guest has room ─▶ SHUTDOWN ─▶ credit, told or asked for
//! ```
//!
//! Invariants: an end is told behind the last byte; every packet tells the guest its credit, so it is told alone only where there is
//! nothing else to say.

use rustix::io::{Errno, read};

use super::{Connection, State};
use crate::virtio::vsock::packet::{HOST_CID, Header, Op, TYPE_STREAM, done};
use crate::virtio::vsock::to_host::BUF_ALLOC;

/// A packet for the guest, without what is the same for all of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::virtio::vsock) struct Outgoing {
    pub(in crate::virtio::vsock) op: Op,
    pub(in crate::virtio::vsock) flags: u32,
    pub(in crate::virtio::vsock) len: u32,
}

impl Connection {
    /// Whether there is something to tell the guest.
    pub(in crate::virtio::vsock) fn has_packet(&self) -> bool {
        match self.state {
            State::Reset => true,
            State::Requested => self.opening.is_some(),
            State::Established => {
                self.opening.is_some()
                    || (self.readable && self.reads())
                    || self.host_done != self.told_done
                    || self.owes_credit
                    || self.credit.asks()
            }
            State::Closed => false,
        }
    }

    /// The next packet for the guest; its payload is in `room`, which is not empty.
    pub(in crate::virtio::vsock) fn packet(&mut self, room: &mut [u8]) -> Option<Outgoing> {
        let plain = |op| Outgoing { op, flags: 0, len: 0 };
        let packet = match self.state {
            State::Closed => return None,
            State::Reset => {
                self.state = State::Closed;
                return Some(plain(Op::Reset));
            }
            State::Requested => plain(self.opening.take()?),
            State::Established => match self.opening.take() {
                Some(op) => plain(op),
                None => self.data(room).or_else(|| self.control())?,
            },
        };
        // Each packet tells the guest its credit.
        self.to_host.tell();
        self.owes_credit = false;
        Some(packet)
    }

    /// The header of a packet for the guest.
    pub(in crate::virtio::vsock) fn header(&self, guest_cid: u64, packet: Outgoing) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: guest_cid,
            src_port: self.key.host_port,
            dst_port: self.key.guest_port,
            len: packet.len,
            kind: TYPE_STREAM,
            op: packet.op as u16,
            flags: packet.flags,
            buf_alloc: BUF_ALLOC,
            fwd_cnt: self.to_host.forwarded(),
        }
    }

    /// Bytes of the host for the guest.
    fn data(&mut self, room: &mut [u8]) -> Option<Outgoing> {
        if !self.readable || !self.reads() {
            return None;
        }
        let most = room.len().min(self.credit.left() as usize);
        let read = loop {
            match read(&self.socket, &mut room[..most]) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        match read {
            Ok(0) => {
                self.readable = false;
                self.host_done |= done::SEND;
                None
            }
            Ok(len) => {
                self.readable = len == most;
                // At most the credit.
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                self.credit.spend(len);
                Some(Outgoing { op: Op::Data, flags: 0, len })
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                None
            }
            Err(_) => {
                // It has gone without reading what the guest sent.
                self.reset();
                self.state = State::Closed;
                Some(Outgoing { op: Op::Reset, flags: 0, len: 0 })
            }
        }
    }

    fn control(&mut self) -> Option<Outgoing> {
        if self.host_done != self.told_done {
            self.told_done = self.host_done;
            return Some(Outgoing { op: Op::Shutdown, flags: self.host_done, len: 0 });
        }
        let op = if self.owes_credit {
            Op::CreditUpdate
        } else if self.credit.ask() {
            Op::CreditRequest
        } else {
            return None;
        };
        Some(Outgoing { op, flags: 0, len: 0 })
    }
}
