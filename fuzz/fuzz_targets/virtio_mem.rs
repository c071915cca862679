//! A memory device under a driver that writes anything into its ring, with a host that fails now and then: nothing panics or goes on for
//! ever, the host is told of blocks of the region only, what is plugged is what was answered, and every request that keeps to the rules
//! comes back.
#![no_main]
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arbitrary::Arbitrary;
use devices::virtio::mem::{BLOCK_SIZE, MemDevice, MemHost, MemOptions};
use devices::virtio::testing::{Buffers, Driver, Runner, activation};
use devices::virtio::{Features, VirtioDevice, WorkerError};
use libfuzzer_sys::fuzz_target;
use vm_memory::GuestAddress;

const SIZE: u16 = 8;
/// Bytes of RAM of the queue.
const RAM: u64 = 4 << 20;
const START: u64 = 4 << 30;
const BLOCKS: u64 = 160;

#[derive(Debug, Arbitrary)]
enum Op {
    /// A descriptor as it comes.
    Describe {
        index: u8,
        gpa: u64,
        len: u32,
        flags: u8,
        next: u8,
    },
    /// One in RAM.
    DescribeNear {
        index: u8,
        gpa: u32,
        len: u16,
        flags: u8,
        next: u8,
    },
    Offer {
        head: u8,
    },
    /// A request that is one.
    Ask {
        kind: u8,
        first: u8,
        count: u8,
    },
    /// One that may be about anything.
    Send {
        request: [u8; 24],
        room: u8,
    },
    Request(u8),
    Config {
        offset: u8,
        data: [u8; 4],
    },
    /// The host fails in so many calls; 0: it does not.
    Fail(u8),
    Reset,
    Step,
    Drain,
}

/// Checks what it is told.
#[derive(Default)]
struct Host {
    fails_in: AtomicU8,
}

impl Host {
    fn told(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        assert!(len > 0 && gpa.0 % BLOCK_SIZE == 0 && len % BLOCK_SIZE == 0);
        assert!(gpa.0 >= START && gpa.0 + len <= START + BLOCKS * BLOCK_SIZE);
        let left = self.fails_in.load(Ordering::Relaxed);
        self.fails_in.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 { Err(io::Error::other("not now")) } else { Ok(()) }
    }
}

impl MemHost for Host {
    fn plug(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.told(gpa, len)
    }

    fn unplug(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.told(gpa, len)
    }
}

/// A request about blocks, as it is in memory.
fn request(kind: u8, first: u8, count: u8) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[0] = kind;
    bytes[8..16].copy_from_slice(&(START + u64::from(first) * BLOCK_SIZE).to_le_bytes());
    bytes[16] = count;
    bytes
}

fuzz_target!(|ops: Vec<Op>| {
    let host = Arc::new(Host::default());
    let options = MemOptions {
        gpa: GuestAddress(START),
        size: BLOCKS * BLOCK_SIZE,
        requested: 0,
        proximity_domain: 0,
    };
    let device = MemDevice::new("mem".into(), options).expect("a device");
    device.start(Arc::clone(&host) as _);
    let mut drivers = Driver::queues(1, SIZE);
    let start = |device: &MemDevice, drivers: &[Driver]| {
        let features = Features(device.features());
        let mut workers = device.activate(activation(drivers, features)).expect("a queue");
        Runner::start(workers.remove(0)).expect("epoll")
    };
    let mut runner = start(&device, &drivers);
    // Descriptors that are with the device, as long as the driver broke no rule.
    let mut outstanding = 0;
    let mut lawful = true;
    // The most that was asked for: more can never be plugged.
    let mut most = 0;
    for op in &ops {
        match *op {
            Op::Describe { index, gpa, len, flags, next } => {
                lawful = false;
                let raw = (GuestAddress(gpa), len, u16::from(flags), u16::from(next));
                drivers[0].write_descriptor(u16::from(index) % SIZE, raw);
            }
            Op::DescribeNear { index, gpa, len, flags, next } => {
                lawful = false;
                let gpa = GuestAddress(u64::from(gpa) % RAM);
                let next = u16::from(next) % (SIZE + 1);
                let raw = (gpa, u32::from(len), u16::from(flags % 8), next);
                drivers[0].write_descriptor(u16::from(index) % SIZE, raw);
            }
            Op::Offer { head } => {
                lawful = false;
                drivers[0].offer(u16::from(head) % (SIZE + 1));
                drivers[0].doorbell.notify();
            }
            Op::Ask { kind, first, count } if outstanding + 2 <= SIZE => {
                outstanding += 2;
                let request = request(kind % 5, first, count);
                drivers[0].send(&Buffers { readable: vec![&request], writable: vec![10] });
            }
            Op::Send { request, room } if outstanding + 2 <= SIZE => {
                outstanding += 2;
                let room = u32::from(room).max(1);
                lawful &= room >= 10;
                drivers[0].send(&Buffers { readable: vec![&request], writable: vec![room] });
            }
            Op::Ask { .. } | Op::Send { .. } => {}
            Op::Request(blocks) => {
                let blocks = u64::from(blocks);
                let taken = device.set_requested(blocks * BLOCK_SIZE);
                assert_eq!(taken.is_ok(), blocks <= BLOCKS);
                if taken.is_ok() {
                    most = most.max(blocks);
                }
            }
            Op::Config { offset, data } => {
                let before = [device.requested(), device.plugged()];
                device.write_config(offset.into(), &data);
                device.read_config(offset.into(), &mut [0; 8]);
                assert_eq!(before, [device.requested(), device.plugged()]);
            }
            Op::Fail(calls) => host.fails_in.store(calls, Ordering::Relaxed),
            Op::Reset => {
                drop(runner);
                let plugged = device.plugged();
                device.reset();
                drivers = Driver::queues(1, SIZE);
                runner = start(&device, &drivers);
                assert_eq!(device.plugged(), plugged, "a reset leaves what is plugged");
                (outstanding, lawful) = (0, true);
            }
            Op::Step => {
                if let Err(error) = runner.step() {
                    assert!(!lawful && matches!(error, WorkerError::Malformed(_)), "{error}");
                    break;
                }
                while let Some((_, written)) = drivers[0].used() {
                    assert!(!lawful || written == 10);
                    outstanding = outstanding.saturating_sub(2);
                }
                assert!(!lawful || outstanding == 0, "a request is lost");
            }
            Op::Drain => runner.drain().expect("nothing is in flight"),
        }
        assert!(device.plugged() <= most * BLOCK_SIZE);
    }
});
