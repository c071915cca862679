//! The rings of a console, filled by a driver that does anything, while a host types and resizes: nothing panics or loops,
//! only a broken rule breaks the device, what the device says that it moved is what was moved, and input is refused only
//! when there is no room.
#![no_main]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::Arbitrary;
use devices::CounterSource;
use devices::console::{ConsoleInput, ConsoleOutput, ConsoleSize};
use devices::virtio::console::VirtioConsole;
use devices::virtio::testing::{Driver, Runner, activation};
use devices::virtio::{Features, VirtioDevice};
use libfuzzer_sys::fuzz_target;

mod rings;

const INPUT_LIMIT: u64 = 4096;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Queue(bool, rings::RingOp<'a>),
    Offer(&'a [u8]),
    Resize(u16, u16),
    Config(u64, u8),
}

#[derive(Default)]
struct Host {
    shown: AtomicU64,
    called: AtomicU64,
}

impl ConsoleOutput for Host {
    fn send(&self, _byte: u8) {
        self.send_all(&[0]);
    }
    fn send_all(&self, bytes: &[u8]) {
        self.shown.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    fn input_has_room(&self) {
        self.called.fetch_add(1, Ordering::Relaxed);
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let host = Arc::new(Host::default());
    let console = VirtioConsole::new("con0", Arc::clone(&host) as _);
    let console = console.expect("an eventfd");
    let mut drivers = Driver::queues(2, 16);
    let features = Features(Features::EVENT_IDX * (ops.len() as u64 % 2));
    let worker = console.activate(activation(&drivers, features)).expect("it can work").remove(0);
    let mut runner = Runner::start(worker).expect("it starts");
    let counter = |name| {
        let counters = console.counters();
        counters.iter().find(|(known, _)| *known == name).expect("it exists").1
    };
    let (mut typed, mut refusals) = (0, 0);
    for op in &ops {
        match op {
            Op::Queue(transmit, op) => rings::apply(op, &mut drivers[usize::from(*transmit)]),
            Op::Offer(bytes) => {
                let taken = console.offer(bytes);
                typed += taken as u64;
                let full = typed - counter("bytes_received") == INPUT_LIMIT;
                assert!(taken == bytes.len() || full);
                refusals += u64::from(taken < bytes.len());
            }
            Op::Resize(columns, rows) => {
                let size = ConsoleSize { columns: *columns, rows: *rows };
                console.resized(size);
                assert_eq!(console.size(), size);
            }
            Op::Config(offset, len) => console.read_config(*offset, &mut vec![0; (*len).into()]),
        }
        if !rings::work(&mut runner) {
            break;
        }
        assert!(counter("bytes_received") <= typed);
        assert!(host.called.load(Ordering::Relaxed) <= refusals);
    }
    // A request that broke off in the middle is shown as far as it went, but not counted.
    assert!(host.shown.load(Ordering::Relaxed) >= counter("bytes_sent"));
});
