//! A namespace with a tap in it, a card on the tap, and a driver.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use devices::CounterSource;
use devices::virtio::net::{HostAddress, Net, NetOptions};
use devices::virtio::testing::{Buffers, Driver, Runner, Sent, activation};
use devices::virtio::{Features, VirtioDevice};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::frame::{GUEST, HOST};

/// Descriptors of a queue.
pub const SIZE: u16 = 64;
/// A buffer for the largest packet with its header.
pub const LARGE: u32 = 65562;
/// VIRTIO_NET_F_MQ and VIRTIO_NET_F_CTRL_VQ.
pub const MULTI_QUEUE: u64 = 1 << 22 | 1 << 17;

/// Runs a test on a thread in a network namespace of its own.
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

/// Options for a tap at 10.0.0.1/24 for a guest at 10.0.0.2.
pub fn options(pairs: u16) -> NetOptions {
    NetOptions {
        mac: Some(GUEST),
        host_mac: Some(HOST),
        address: Some(HostAddress {
            ip: Ipv4Addr::new(10, 0, 0, 1),
            mask: Ipv4Addr::new(255, 255, 255, 0),
        }),
        num_queues: 2 * pairs,
        queue_size: SIZE,
        ..NetOptions::default()
    }
}

/// A card that is in use.
pub struct Bed {
    pub net: Net,
    pub drivers: Vec<Driver>,
    pub runners: Vec<Runner>,
    /// The buffers that each receive queue has, in order.
    given: Vec<Vec<Sent>>,
    /// Packets that came while another was waited for.
    passed: VecDeque<Vec<u8>>,
}

impl Bed {
    /// On a tap with these options, with what of `features` is offered negotiated.
    pub fn new(options: NetOptions, features: u64) -> Self {
        let net = Net::new("net0".into(), options).expect("a tap");
        let features = Features(net.features() & features);
        let queues = u16::try_from(net.queue_sizes().len()).unwrap();
        let drivers = Driver::queues(queues, SIZE);
        let workers = net.activate(activation(&drivers, features)).expect("workers");
        let mut runners: Vec<_> =
            workers.into_iter().map(|worker| Runner::start(worker).unwrap()).collect();
        for runner in &mut runners {
            runner.step().unwrap();
        }
        let given = drivers.iter().map(|_| Vec::new()).collect();
        Self { net, drivers, runners, given, passed: VecDeque::new() }
    }

    /// Gives a pair buffers for packets of any size.
    pub fn give(&mut self, pair: usize, buffers: usize) {
        for _ in 0..buffers {
            let buffer = Buffers { readable: vec![], writable: vec![LARGE] };
            let sent = self.drivers[2 * pair].send(&buffer);
            self.given[2 * pair].push(sent);
        }
        self.step();
    }

    /// Lets every worker do what there is to do.
    pub fn step(&mut self) {
        for runner in &mut self.runners {
            runner.step().unwrap();
        }
    }

    /// The packets, with their headers, that a pair has got since the last time. Their buffers are gone.
    pub fn got(&mut self, pair: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some((head, len)) = self.drivers[2 * pair].used() {
            let sent = self.given[2 * pair].remove(0);
            assert_eq!(sent.head, head, "buffers are used in order");
            packets.push(self.drivers[2 * pair].read(sent.writable[0].0, len));
        }
        packets
    }

    /// Sleeps until the pair has got a packet that satisfies `wanted`, which is given; what comes before it is passed over.
    /// Gives a buffer for each that it got. To be used for one pair only.
    pub fn wait_for(&mut self, pair: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            while let Some(packet) = self.passed.pop_front() {
                if wanted(&packet) {
                    return packet;
                }
            }
            let got = self.got(pair);
            if got.is_empty() {
                self.runners[pair].sleep().unwrap();
            }
            self.give(pair, got.len());
            self.passed.extend(got);
        }
    }

    /// Sends a packet with its header, in three pieces.
    pub fn send(&mut self, pair: usize, packet: &[u8]) {
        let (header, rest) = packet.split_at(12);
        let (ethernet, rest) = rest.split_at(14);
        let driver = &mut self.drivers[2 * pair + 1];
        driver.send(&Buffers { readable: vec![header, ethernet, rest], writable: vec![] });
        self.runners[pair].step().unwrap();
        assert!(self.drivers[2 * pair + 1].used().is_some(), "it was sent");
    }

    /// Gives a command to the control queue; the answer.
    pub fn command(&mut self, command: &[u8]) -> u8 {
        let control = self.drivers.last_mut().unwrap();
        let sent = control.send(&Buffers { readable: vec![command], writable: vec![1] });
        self.runners.last_mut().unwrap().step().unwrap();
        let control = self.drivers.last_mut().unwrap();
        assert_eq!(control.used(), Some((sent.head, 1)));
        control.read(sent.writable[0].0, 1)[0]
    }

    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.net.counters();
        counters.into_iter().find(|(known, _)| *known == name).expect("it exists").1
    }
}
