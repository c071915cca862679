//! The memory device under a driver that does everything, checked by what it answers and what comes to a recording host.

mod drained;
mod model;
mod requests;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_queue::SegQueue;
use vm_memory::GuestAddress;

use super::{BLOCK_SIZE, MemDevice, MemHost, MemOptions};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::virtio::testing::{Buffers, Driver, Runner, activation};
use crate::virtio::{Features, VirtioDevice};

const START: u64 = 6 << 30;
const BLOCKS: u64 = 128;
const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;
const ACK: u16 = 0;
const NACK: u16 = 1;
const BUSY: u16 = 2;
const ERROR: u16 = 3;

/// What the device has had the host do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    Plug(Range<u64>),
    Unplug(Range<u64>),
}

/// Plugs and unplugs, and knows what.
#[derive(Default)]
struct Host {
    done: SegQueue<Done>,
    /// After so many more calls it refuses; 0 is never.
    refuses_in: AtomicU64,
}

impl Host {
    fn blocks(gpa: GuestAddress, len: u64) -> Range<u64> {
        let offset = gpa.0.checked_sub(START).expect("in the region");
        assert!(offset.is_multiple_of(BLOCK_SIZE) && len.is_multiple_of(BLOCK_SIZE) && len > 0);
        let blocks = offset / BLOCK_SIZE..(offset + len) / BLOCK_SIZE;
        assert!(blocks.end <= BLOCKS && len <= 32 << 20, "{blocks:?}");
        blocks
    }

    fn refuses(&self) -> io::Result<()> {
        let left = self.refuses_in.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        self.refuses_in.store(left - 1, Ordering::SeqCst);
        if left == 1 { Err(io::Error::other("not now")) } else { Ok(()) }
    }

    /// The calls since the last time, adjacent ones as one.
    fn done(&self) -> Vec<Done> {
        let mut all: Vec<Done> = Vec::new();
        while let Some(next) = self.done.pop() {
            match (all.last_mut(), &next) {
                (Some(Done::Plug(last)), Done::Plug(next))
                | (Some(Done::Unplug(last)), Done::Unplug(next))
                    if last.end == next.start =>
                {
                    last.end = next.end;
                }
                _ => all.push(next),
            }
        }
        all
    }
}

impl MemHost for Host {
    fn plug(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.done.push(Done::Plug(Self::blocks(gpa, len)));
        self.refuses()
    }

    fn unplug(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.done.push(Done::Unplug(Self::blocks(gpa, len)));
        self.refuses()
    }
}

/// A device in a machine, its driver, and the host.
struct Bed {
    device: MemDevice,
    drivers: Vec<Driver>,
    host: Arc<Host>,
}

fn options(requested: u64) -> MemOptions {
    MemOptions {
        gpa: GuestAddress(START),
        size: BLOCKS * BLOCK_SIZE,
        requested: requested * BLOCK_SIZE,
        proximity_domain: 3,
    }
}

impl Bed {
    /// One whose host asks for so many blocks.
    fn new(requested: u64) -> Self {
        let device = MemDevice::new("mem".into(), options(requested)).unwrap();
        let host = Arc::new(Host::default());
        device.start(Arc::clone(&host) as _);
        Self { device, drivers: Driver::queues(1, 8), host }
    }

    fn run(&self) -> Runner {
        let features = Features(self.device.features());
        let mut workers = self.device.activate(activation(&self.drivers, features)).unwrap();
        Runner::start(workers.remove(0)).unwrap()
    }

    /// Sends a request; the answer's type and state.
    fn ask(&mut self, runner: &mut Runner, request: (u16, u64, u16)) -> (u16, u16) {
        let bytes = bytes(request);
        let sent = self.drivers[0].send(&Buffers { readable: vec![&bytes], writable: vec![10] });
        runner.step().unwrap();
        assert_eq!(self.drivers[0].used(), Some((sent.head, 10)));
        let answer = self.drivers[0].read(sent.writable[0].0, 10);
        assert_eq!(answer[2..8], [0; 6], "padding");
        (u16::from_le_bytes([answer[0], answer[1]]), u16::from_le_bytes([answer[8], answer[9]]))
    }

    fn set_requested(&self, blocks: u64) {
        self.device.set_requested(blocks * BLOCK_SIZE).unwrap();
    }

    fn plugged(&self) -> u64 {
        assert!(self.device.plugged().is_multiple_of(BLOCK_SIZE));
        self.device.plugged() / BLOCK_SIZE
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.device.counters();
        counters.into_iter().find(|(known, _)| *known == name).expect("it exists").1
    }
}

/// A request about so many blocks, from that one on.
fn bytes((kind, first, count): (u16, u64, u16)) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    let gpa = START.wrapping_add(first.wrapping_mul(BLOCK_SIZE));
    bytes[8..16].copy_from_slice(&gpa.to_le_bytes());
    bytes[16..18].copy_from_slice(&count.to_le_bytes());
    bytes
}
