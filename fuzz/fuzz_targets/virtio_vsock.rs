//! A socket device between a guest that sends any packets through any rings and programs of the host that come, write,
//! read and go: nothing panics or loops, only a broken rule breaks the device, and every packet for the guest is a good one.
#![no_main]
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use arbitrary::Arbitrary;
use devices::CounterSource;
use devices::virtio::testing::{Buffers, Driver, Runner, activation};
use devices::virtio::vsock::Vsock;
use devices::virtio::{Features, VirtioDevice};
use libfuzzer_sys::fuzz_target;

mod rings;

const CID: u32 = 3;
const HEADER: usize = 44;
const RESET: u16 = 3;
const DATA: u16 = 5;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Packet { header: Fields, payload: &'a [u8] },
    Post { count: u8, payload: u16 },
    Raw { queue: u8, op: rings::RingOp<'a> },
    Client { port: u8 },
    Greeting(&'a [u8]),
    Write { who: u8, data: &'a [u8] },
    Read { who: u8 },
    Close { who: u8 },
    Drain,
}

/// A header; good values more often than chance would have it.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Fields {
    odd_cids: Option<(u64, u64)>,
    guest_port: u8,
    host_port: Port,
    odd_len: Option<u32>,
    odd_kind: Option<u16>,
    op: u8,
    flags: u8,
    credit: Credit,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Port {
    /// On which somebody listens.
    Listens,
    /// One that the device gave to a client.
    Client(u8),
    Other(u8),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Credit {
    Plenty,
    Some(u16, u16),
    Any(u32, u32),
}

struct World {
    vsock: Vsock,
    listener: UnixListener,
    folder: PathBuf,
    drivers: Vec<Driver>,
    peers: Vec<UnixStream>,
    buffers: VecDeque<(u16, vm_memory::GuestAddress)>,
    /// No raw access to the rings has been made.
    honest: bool,
}

impl World {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("stillpoint-fuzz-{}", std::process::id()));
        // What a run before has left behind.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a folder");
        let vsock = Vsock::bind("vsock0", CID, &folder.join("v")).expect("a free path");
        let listener = UnixListener::bind(folder.join("v_1")).expect("a free path");
        listener.set_nonblocking(true).expect("a socket");
        Self {
            vsock,
            listener,
            folder,
            drivers: Driver::queues(3, 64),
            peers: Vec::new(),
            buffers: VecDeque::new(),
            honest: true,
        }
    }

    fn packet(&mut self, fields: Fields, payload: &[u8]) {
        let (src, dst) = fields.odd_cids.unwrap_or((CID.into(), 2));
        let host_port = match fields.host_port {
            Port::Listens => 1,
            Port::Client(number) => (1 << 30) + u32::from(number % 4),
            Port::Other(port) => port.into(),
        };
        let guest_port = u32::from(fields.guest_port % 4);
        let len = fields.odd_len.unwrap_or(payload.len() as u32);
        let kind = fields.odd_kind.unwrap_or(1);
        let (alloc, forwarded) = match fields.credit {
            Credit::Plenty => (u32::MAX, 0),
            Credit::Some(alloc, forwarded) => (alloc.into(), forwarded.into()),
            Credit::Any(alloc, forwarded) => (alloc, forwarded),
        };
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(src.to_le_bytes());
        bytes.extend(dst.to_le_bytes());
        bytes.extend(guest_port.to_le_bytes());
        bytes.extend(host_port.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(u16::from(fields.op % 9).to_le_bytes());
        bytes.extend(u32::from(fields.flags).to_le_bytes());
        bytes.extend(alloc.to_le_bytes());
        bytes.extend(forwarded.to_le_bytes());
        let mut readable: Vec<&[u8]> = vec![&bytes];
        readable.extend((!payload.is_empty()).then_some(payload));
        self.drivers[1].send(&Buffers { readable, writable: vec![] });
    }

    fn apply(&mut self, op: &Op<'_>) {
        match *op {
            Op::Packet { header, payload } => self.packet(header, payload),
            Op::Post { count, payload } => {
                for _ in 0..count % 8 {
                    if self.buffers.len() < 60 {
                        // As many as there may be fit into the driver's memory.
                        let writable = vec![(HEADER + 1) as u32 + u32::from(payload % 4096)];
                        let sent = self.drivers[0].send(&Buffers { readable: vec![], writable });
                        self.buffers.push_back((sent.head, sent.writable[0].0));
                    }
                }
            }
            Op::Raw { queue, ref op } => {
                self.honest = false;
                rings::apply(op, &mut self.drivers[usize::from(queue % 3)]);
            }
            Op::Client { port } => {
                self.connect(format!("CONNECT {}\n", port % 4).as_bytes());
            }
            Op::Greeting(line) => self.connect(line),
            Op::Write { who, data } => {
                if let Some(peer) = self.peer(who) {
                    let _ = peer.write(data);
                }
            }
            Op::Read { who } => {
                if let Some(peer) = self.peer(who) {
                    let _ = peer.read(&mut [0; 4096]);
                }
            }
            Op::Close { who } => {
                if !self.peers.is_empty() {
                    let who = usize::from(who) % self.peers.len();
                    self.peers.swap_remove(who);
                }
            }
            Op::Drain => {}
        }
    }

    fn connect(&mut self, greeting: &[u8]) {
        if self.peers.len() < 16 {
            let mut client = UnixStream::connect(self.vsock.path()).expect("it listens");
            client.set_nonblocking(true).expect("a socket");
            let _ = client.write(greeting);
            self.peers.push(client);
        }
    }

    fn peer(&mut self, who: u8) -> Option<&mut UnixStream> {
        let count = self.peers.len();
        self.peers.get_mut(usize::from(who) % count.max(1))
    }

    /// Takes the guest's connections on the host, and looks at what the guest was sent.
    fn look(&mut self) {
        while let Ok((peer, _)) = self.listener.accept() {
            peer.set_nonblocking(true).expect("a socket");
            self.peers.push(peer);
        }
        while self.honest
            && let Some((head, len)) = self.drivers[0].used()
        {
            let (expected, gpa) = self.buffers.pop_front().expect("it was given one");
            assert_eq!(head, expected);
            let bytes = self.drivers[0].read(gpa, len);
            check(&bytes);
        }
    }
}

/// What is wrong with a packet for the guest is found here.
fn check(bytes: &[u8]) {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two"));
    let (len, op) = (u32_at(24) as usize, u16_at(30));
    assert_eq!(len, bytes.len() - HEADER);
    assert!((1..=7).contains(&op));
    // A reset also answers packets with other ids and types.
    if op != RESET {
        assert_eq!((u32_at(0), u32_at(8), u16_at(28)), (2, CID, 1));
    }
    assert_eq!(op == DATA, len > 0, "data, and nothing else, has a payload");
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let mut world = World::new();
    let worker = world.vsock.activate(activation(&world.drivers, Features::default()));
    let mut runner = Runner::start(worker.expect("it can work").remove(0)).expect("it starts");
    for op in &ops {
        world.apply(op);
        if matches!(op, Op::Drain) && runner.drain().is_err() {
            break;
        }
        if !rings::work(&mut runner) {
            break;
        }
        world.look();
    }
    assert_eq!(world.vsock.counters().len(), 7);
});
