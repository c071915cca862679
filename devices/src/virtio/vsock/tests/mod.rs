//! A guest made of three queues on one side, real Unix sockets on the other.

mod ends;
mod limits;
mod model;
mod opening;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use super::packet::{HEADER_LEN, HOST_CID, Header, Key, Op, TYPE_STREAM, done};
use super::to_host::BUF_ALLOC;
use super::*;
use crate::virtio::testing::{Buffers, Driver, Runner, Sent, activation};
use crate::virtio::{Features, Malformed, WorkerError};

pub(super) const CID: u32 = 42;
/// What the guest grants, unless a test says otherwise.
pub(super) const GUEST_ALLOC: u32 = 256 << 10;

/// A device with a guest that does what the test says.
pub(super) struct Bed {
    pub(super) folder: tempfile::TempDir,
    pub(super) vsock: Vsock,
    pub(super) guest: Guest,
}

pub(super) struct Guest {
    pub(super) receive: Driver,
    pub(super) transmit: Driver,
    pub(super) runner: Runner,
    posted: VecDeque<Sent>,
}

/// What the guest heard.
pub(super) type Heard = (Header, Vec<u8>);

impl Bed {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vsock = Vsock::bind("vsock0", CID, &folder.path().join("vm")).unwrap();
        let guest = Guest::of(&vsock);
        Self { folder, vsock, guest }
    }

    /// A program of the host that listens for the guest on this port.
    pub(super) fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.folder.path().join(format!("vm_{port}"))).unwrap()
    }

    /// A client of the host that has asked for this port of the guest.
    pub(super) fn client(&self, port: u32) -> UnixStream {
        let mut client = UnixStream::connect(self.vsock.path()).unwrap();
        client.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
        client
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.vsock.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// A connection of the guest to the host that both have agreed to, and the host's end.
    pub(super) fn connected(&mut self, key: Key) -> UnixStream {
        let listener = self.listen(key.host_port);
        self.guest.say(key, Op::Request, 0, &[]);
        let (header, _) = self.guest.hear_one();
        assert_eq!((header.op, header.key_of_host()), (Op::Response as u16, key));
        listener.accept().unwrap().0
    }
}

impl Header {
    /// The connection that a packet for the guest belongs to.
    pub(super) fn key_of_host(&self) -> Key {
        Key { host_port: self.src_port, guest_port: self.dst_port }
    }
}

/// A packet of the guest, with plenty of credit.
pub(super) fn header(key: Key, op: Op, flags: u32, len: usize) -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: HOST_CID,
        src_port: key.guest_port,
        dst_port: key.host_port,
        len: u32::try_from(len).unwrap(),
        kind: TYPE_STREAM,
        op: op as u16,
        flags,
        buf_alloc: GUEST_ALLOC,
        fwd_cnt: 0,
    }
}

impl Guest {
    pub(super) fn of(vsock: &Vsock) -> Self {
        let drivers = Driver::queues(3, 64);
        let features = Features(F_STREAM | Features::VERSION_1);
        let mut workers = vsock.activate(activation(&drivers, features)).unwrap();
        let runner = Runner::start(workers.remove(0)).unwrap();
        let [receive, transmit, _event] = drivers.try_into().ok().unwrap();
        Self { receive, transmit, runner, posted: VecDeque::new() }
    }

    pub(super) fn step(&mut self) {
        self.runner.step().unwrap();
    }

    /// Sends a packet; its buffer comes back at once.
    pub(super) fn send(&mut self, header: &Header, payload: &[u8]) {
        let bytes = header.to_bytes();
        self.transmit.send(&Buffers { readable: vec![&bytes, payload], writable: vec![] });
        self.step();
        assert!(self.transmit.used().is_some());
    }

    pub(super) fn say(&mut self, key: Key, op: Op, flags: u32, payload: &[u8]) {
        self.send(&header(key, op, flags, payload.len()), payload);
    }

    /// Provides receive buffers for payloads of this length.
    pub(super) fn post(&mut self, count: usize, payload: usize) {
        for _ in 0..count {
            let len = u32::try_from(HEADER_LEN + payload).unwrap();
            let sent = self.receive.send(&Buffers { readable: vec![], writable: vec![len] });
            self.posted.push_back(sent);
        }
        self.step();
    }

    pub(super) fn posted(&self) -> usize {
        self.posted.len()
    }

    /// What has come in the buffers that there are.
    pub(super) fn hear(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some((head, len)) = self.receive.used() {
            let sent = self.posted.pop_front().unwrap();
            assert_eq!(head, sent.head);
            let bytes = self.receive.read(sent.writable[0].0, len);
            let (header, payload) = bytes.split_first_chunk().unwrap();
            let header = Header::parse(header);
            assert_eq!(header.len as usize, payload.len());
            heard.push((header, payload.to_vec()));
        }
        heard
    }

    /// All that the device has to say now.
    pub(super) fn hear_all(&mut self) -> Vec<Heard> {
        let mut heard = self.hear();
        loop {
            self.post(8_usize.saturating_sub(self.posted.len()), 4096);
            let more = self.hear();
            if more.is_empty() {
                return heard;
            }
            heard.extend(more);
        }
    }

    /// The only packet that the device has to say.
    pub(super) fn hear_one(&mut self) -> Heard {
        let mut heard = self.hear_all();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    /// The operations that the device has to say, with their flags.
    pub(super) fn hear_ops(&mut self) -> Vec<(u16, u32)> {
        self.hear_all().iter().map(|(header, _)| (header.op, header.flags)).collect()
    }
}

/// What can be read now, and whether that was the end.
pub(super) fn read_now(stream: &mut UnixStream) -> (Vec<u8>, bool) {
    stream.set_nonblocking(true).unwrap();
    let mut data = Vec::new();
    let ended = match stream.read_to_end(&mut data) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        // It had sent what nobody read.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    (data, ended)
}

/// Writes until the socket takes no more; how much.
pub(super) fn flood(stream: &mut UnixStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    while let Ok(len) = stream.write(&pattern(written, 4096)) {
        written += len;
    }
    written
}

pub(super) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (0..251).cycle().skip(from % 251).take(len).collect()
}

pub(super) fn key(host_port: u32, guest_port: u32) -> Key {
    Key { host_port, guest_port }
}
