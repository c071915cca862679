//! A balloon under a driver that writes anything into its rings: nothing panics or goes on for ever, only whole pages
//! of RAM go back to the host, and every request that keeps to the rules comes back.
#![no_main]
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::Arbitrary;
use devices::CounterSource;
use devices::virtio::balloon::{Balloon, BalloonOptions, Offered, PAGE_SIZE, PageReturn};
use devices::virtio::testing::{Buffers, Driver, Runner, activation};
use devices::virtio::{Features, VirtioDevice, WorkerError};
use libfuzzer_sys::fuzz_target;
use vm_memory::GuestAddress;

const SIZE: u16 = 8;
/// Bytes of RAM of five queues.
const RAM: u64 = 20 << 20;

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
    Inflate(&'a [u8]),
    Deflate(&'a [u8]),
    Report([u16; 3]),
    Config {
        offset: u8,
        data: &'a [u8],
    },
    Step,
    Drain,
}

/// Counts pages, and checks that they are some.
#[derive(Default)]
struct Host {
    pages: AtomicU64,
}

impl PageReturn for Host {
    fn discard(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        assert!(len > 0 && gpa.0 % PAGE_SIZE == 0 && len % PAGE_SIZE == 0);
        assert!(gpa.0 + len <= RAM, "{:#x} and {len:#x} bytes on is no RAM", gpa.0);
        self.pages.fetch_add(len / PAGE_SIZE, Ordering::Relaxed);
        Ok(())
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let host = Arc::new(Host::default());
    let options =
        BalloonOptions { size: 0, deflate_on_oom: Offered::Yes, free_page_reporting: Offered::Yes };
    let balloon =
        Balloon::new("balloon".into(), options, Arc::clone(&host) as _).expect("a balloon");
    let mut drivers = Driver::queues(5, SIZE);
    let mut workers =
        balloon.activate(activation(&drivers, Features(balloon.features()))).expect("all queues");
    let mut runner = Runner::start(workers.remove(0)).expect("epoll");
    // Requests that are with the balloon, for each queue, as long as the driver broke no rule.
    let mut outstanding = [0_u16; 5];
    let mut lawful = true;
    for op in &ops {
        match *op {
            Op::Describe { queue, index, gpa, len, flags, next } => {
                lawful = false;
                let raw = (GuestAddress(gpa), len, u16::from(flags), u16::from(next));
                drivers[usize::from(queue) % 5].write_descriptor(u16::from(index) % SIZE, raw);
            }
            Op::DescribeNear { queue, index, gpa, len, flags, next } => {
                lawful = false;
                let gpa = GuestAddress(u64::from(gpa) % RAM);
                let next = u16::from(next) % (SIZE + 1);
                let raw = (gpa, u32::from(len), u16::from(flags % 8), next);
                drivers[usize::from(queue) % 5].write_descriptor(u16::from(index) % SIZE, raw);
            }
            Op::Offer { queue, head } => {
                lawful = false;
                let driver = &mut drivers[usize::from(queue) % 5];
                driver.offer(u16::from(head) % (SIZE + 1));
                driver.doorbell.notify();
            }
            Op::Inflate(pages) | Op::Deflate(pages) => {
                let queue = usize::from(matches!(op, Op::Deflate(_)));
                if !pages.is_empty() && outstanding[queue] < SIZE {
                    outstanding[queue] += 1;
                    drivers[queue].send(&Buffers { readable: vec![pages], writable: vec![] });
                }
            }
            Op::Report(sizes) => {
                if outstanding[4] + 3 <= SIZE {
                    outstanding[4] += 3;
                    let writable = sizes.map(u32::from).to_vec();
                    drivers[4].send(&Buffers { readable: vec![], writable });
                }
            }
            Op::Config { offset, data } => {
                let [target, _] = [balloon.target(), balloon.actual()];
                balloon.write_config(offset.into(), data);
                balloon.read_config(offset.into(), &mut vec![0; data.len()]);
                assert_eq!(balloon.target(), target, "the target is not the driver's to write");
            }
            Op::Step => {
                if let Err(error) = runner.step() {
                    assert!(!lawful && matches!(error, WorkerError::Malformed(_)), "{error}");
                    break;
                }
                for (queue, driver) in drivers.iter_mut().enumerate() {
                    let per_request = if queue == 4 { 3 } else { 1 };
                    while driver.used().is_some() {
                        outstanding[queue] = outstanding[queue].saturating_sub(per_request);
                    }
                    assert!(
                        !lawful || outstanding[queue] == 0,
                        "a request of queue {queue} is lost"
                    );
                }
            }
            Op::Drain => runner.drain().expect("nothing is in flight"),
        }
    }
    let counters = balloon.counters();
    let count = |name| counters.iter().find(|(known, _)| *known == name).expect("it exists").1;
    let pages = host.pages.load(Ordering::Relaxed);
    assert_eq!(pages, count("inflated_pages") + count("reported_pages"));
});
