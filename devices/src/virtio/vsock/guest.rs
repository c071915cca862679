//! What becomes of the guest's packets.

use std::ffi::OsString;

use super::connection::{Connection, State};
use super::count;
use super::packet::{HOST_CID, Header, Op, TYPE_STREAM};
use super::table::Peer;
use super::worker::VsockWorker;
use crate::console::connect_now;

impl VsockWorker {
    /// Takes a packet, whose payload is at hand.
    pub(super) fn dispatch(&mut self, header: &Header) {
        if header.src_cid != self.guest_cid {
            // From nobody, so nobody is answered (5.10.6.4).
            return count(&self.counts.stray, 1);
        }
        if header.kind != TYPE_STREAM || header.dst_cid != HOST_CID {
            return self.stray(header);
        }
        match (self.table.find(header.key()), Op::from_raw(header.op)) {
            (Some(index), op) => self.take(index, op, header),
            (None, Some(Op::Request)) => self.request(header),
            (None, _) => self.stray(header),
        }
    }

    fn take(&mut self, index: u32, op: Option<Op>, header: &Header) {
        self.touched.push(index);
        let Some(connection) = self.table.connection(index) else { return };
        let before = connection.state();
        let payload = &self.payload[..header.len as usize];
        if connection.take(op, header, payload).is_err() {
            count(&self.counts.violations, 1);
        } else if op == Some(Op::Data) {
            count(&self.counts.from_guest, header.len.into());
        }
        if before == State::Requested && connection.state() == State::Established {
            count(&self.counts.connections, 1);
        }
    }

    /// The guest wants to be connected with the host.
    fn request(&mut self, header: &Header) {
        let mut path = OsString::from(self.listener.path());
        path.push(format!("_{}", header.dst_port));
        let socket = if self.table.is_full() { None } else { connect_now(path.as_ref()).ok() };
        let Some(socket) = socket else {
            count(&self.counts.refused, 1);
            return self.strays.push_back(header.reset());
        };
        let connection = Connection::accepted(socket, header);
        let index = self.table.insert(Peer::Connection(Box::new(connection)));
        count(&self.counts.connections, 1);
        self.touched.push(index);
    }

    /// Answers a packet that belongs nowhere.
    fn stray(&mut self, header: &Header) {
        count(&self.counts.stray, 1);
        if header.op != Op::Reset as u16 {
            self.strays.push_back(header.reset());
        }
    }
}
