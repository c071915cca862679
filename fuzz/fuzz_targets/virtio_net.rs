//! A network card between a driver that writes anything into its rings and a host that sends anything: nothing panics or goes on for
//! ever; while the driver keeps to the rules, packets pass whole, in order and each once or are counted as dropped, and
//! when it does not, the card stops and says that it is the driver's fault.
#![no_main]
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arbitrary::Arbitrary;
use devices::CounterSource;
use devices::virtio::net::{Backend, Net, NetOptions, Offloads};
use devices::virtio::testing::{Buffers, Driver, Runner, Sent, activation};
use devices::virtio::{Features, VirtioDevice, WorkerError};
use libfuzzer_sys::fuzz_target;
use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_memory::GuestAddress;

/// VIRTIO_NET_F_MRG_RXBUF and VIRTIO_NET_F_MQ.
const MRG_RXBUF: u64 = 1 << 15;
const MQ: u64 = 1 << 22;
const PAIRS: u16 = 2;
const SIZE: u16 = 8;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    /// A descriptor as it comes.
    Describe {
        queue: u8,
        index: u8,
        gpa: u64,
        len: u32,
        flags: u8,
        next: u8,
    },
    /// One in RAM.
    DescribeNear {
        queue: u8,
        index: u8,
        gpa: u32,
        len: u16,
        flags: u8,
        next: u8,
    },
    Offer {
        queue: u8,
        head: u8,
    },
    /// A packet in pieces, as it should be.
    Send {
        pair: bool,
        pieces: [&'a [u8]; 2],
    },
    Room {
        pair: bool,
        sizes: [u8; 2],
    },
    Command(&'a [u8]),
    Arrive {
        pair: bool,
        packet: &'a [u8],
    },
    Step,
    Drain,
}

/// Socket pairs.
struct Double {
    near: Vec<OwnedFd>,
    far: Vec<OwnedFd>,
}

impl Backend for Double {
    fn name(&self) -> &str {
        "double"
    }
    fn queues(&self) -> &[OwnedFd] {
        &self.near
    }
    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }
    fn set_offloads(&self, _: Offloads) -> io::Result<()> {
        Ok(())
    }
    fn set_active(&self, pairs: u16) -> io::Result<()> {
        assert!((1..=PAIRS).contains(&pairs));
        Ok(())
    }
}

/// What a driver that keeps to the rules knows of a receive queue.
#[derive(Default)]
struct Receiving {
    /// Buffers that the card has, in order.
    given: VecDeque<Sent>,
    /// How many buffers of the last packet are still to come.
    missing: u16,
}

impl Receiving {
    /// The card has used a buffer.
    fn used(&mut self, driver: &Driver, (head, len): (u16, u32), merged: bool) {
        let sent = self.given.pop_front().expect("it was given");
        assert_eq!(sent.head, head, "buffers are used in order");
        if self.missing == 0 {
            // The header has the first piece to itself.
            let header = driver.read(sent.writable[0].0, 12);
            self.missing = u16::from_le_bytes([header[10], header[11]]);
            assert!(len >= 12 && self.missing > 0 && (merged || self.missing == 1));
        }
        self.missing -= 1;
        let room: u32 = sent.writable.iter().map(|(_, len)| len).sum();
        assert!(len <= room && (self.missing == 0 || len == room), "only the last has room left");
    }
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    features: u64,
    ops: Vec<Op<'a>>,
}

fuzz_target!(|input: Input<'_>| {
    let pair = |_| {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("sockets")
    };
    let (near, far) = (0..PAIRS).map(pair).unzip();
    let double = Arc::new(Double { near, far });
    let options = NetOptions { num_queues: 2 * PAIRS, queue_size: SIZE, ..NetOptions::default() };
    let net = Net::with_backend("net".into(), &options, Arc::clone(&double) as _).expect("a card");
    let features = Features(net.features() & input.features);
    // Without VIRTIO_NET_F_MQ there is one pair, and the control queue comes right behind it (virtio 1.2, 5.1.2).
    let pairs = if features.has(MQ) { PAIRS } else { 1 };
    let control = usize::from(2 * pairs);
    let pair_of = |second: bool| usize::from(u16::from(second) % pairs);
    let mut drivers = Driver::queues(2 * PAIRS + 1, SIZE);
    let workers = net.activate(activation(&drivers, features)).expect("every queue is there");
    let mut runners: Vec<Option<Runner>> =
        workers.into_iter().map(|worker| Some(Runner::start(worker).expect("epoll"))).collect();
    // Packets that the driver sent by the rules, for each queue, as long as it broke none.
    let mut sent: Vec<VecDeque<Vec<u8>>> = vec![VecDeque::new(); PAIRS.into()];
    let mut outstanding = vec![0; drivers.len()];
    let merged = features.has(MRG_RXBUF);
    let mut receiving: Vec<Receiving> = (0..pairs).map(|_| Receiving::default()).collect();
    let mut lawful = true;
    for op in &input.ops {
        match *op {
            Op::Describe { queue, index, gpa, len, flags, next } => {
                lawful = false;
                let queue = usize::from(queue) % drivers.len();
                let raw = (GuestAddress(gpa), len, u16::from(flags), u16::from(next));
                drivers[queue].write_descriptor(u16::from(index) % SIZE, raw);
            }
            Op::DescribeNear { queue, index, gpa, len, flags, next } => {
                lawful = false;
                let queue = usize::from(queue) % drivers.len();
                let gpa = GuestAddress(u64::from(gpa) % (20 << 20));
                let next = u16::from(next) % (SIZE + 1);
                let raw = (gpa, u32::from(len), u16::from(flags % 8), next);
                drivers[queue].write_descriptor(u16::from(index) % SIZE, raw);
            }
            Op::Offer { queue, head } => {
                lawful = false;
                let queue = usize::from(queue) % drivers.len();
                drivers[queue].offer(u16::from(head) % (SIZE + 1));
                drivers[queue].doorbell.notify();
            }
            Op::Send { pair, pieces } => {
                let queue = 2 * pair_of(pair) + 1;
                let data = pieces.concat();
                if data.is_empty() || outstanding[queue] + 3 > SIZE {
                    continue;
                }
                outstanding[queue] += 3;
                let header = [0; 12];
                let readable = vec![&header[..], pieces[0], pieces[1]];
                drivers[queue].send(&Buffers { readable, writable: vec![] });
                sent[pair_of(pair)].push_back([&header[..], &data].concat());
            }
            Op::Room { pair, sizes } => {
                let queue = 2 * pair_of(pair);
                if outstanding[queue] + 3 > SIZE {
                    continue;
                }
                outstanding[queue] += 3;
                let writable = vec![12, sizes[0].into(), sizes[1].into()];
                let room = drivers[queue].send(&Buffers { readable: vec![], writable });
                receiving[pair_of(pair)].given.push_back(room);
            }
            Op::Command(command) => {
                if command.len() < 2 || outstanding[control] + 2 > SIZE {
                    continue;
                }
                outstanding[control] += 2;
                drivers[control].send(&Buffers { readable: vec![command], writable: vec![1] });
            }
            Op::Arrive { pair, packet } => {
                if !packet.is_empty() {
                    // A full socket is none of the card's business.
                    let _ = write(&double.far[usize::from(pair)], packet);
                }
            }
            Op::Step => {
                for place in &mut runners {
                    let Some(runner) = place else { continue };
                    if let Err(error) = runner.step() {
                        assert!(!lawful, "{error}");
                        assert!(matches!(error, WorkerError::Malformed(_)), "{error}");
                        *place = None;
                    }
                }
                for (pair, sent) in sent.iter_mut().enumerate() {
                    let mut packet = vec![0; 1 << 16];
                    while let Ok(len) = read(&double.far[pair], &mut packet[..]) {
                        if lawful {
                            assert_eq!(Some(&packet[..len]), sent.pop_front().as_deref());
                        }
                    }
                }
                for (queue, driver) in drivers.iter_mut().enumerate() {
                    while let Some(used) = driver.used() {
                        let per_request = if queue == control { 2 } else { 3 };
                        outstanding[queue] = outstanding[queue].saturating_sub(per_request);
                        if lawful && queue < control && queue % 2 == 0 {
                            receiving[queue / 2].used(driver, used, merged);
                        }
                    }
                }
                let whole = receiving.iter().all(|receiving| receiving.missing == 0);
                assert!(!lawful || whole, "all of a packet comes at once");
            }
            Op::Drain => {
                for runner in runners.iter_mut().flatten() {
                    runner.drain().expect("nothing is in flight");
                }
            }
        }
    }
    if runners.iter().any(Option::is_none) {
        let counters = net.counters();
        assert!(counters.iter().any(|(name, count)| *name == "malformed" && *count > 0));
    }
});
