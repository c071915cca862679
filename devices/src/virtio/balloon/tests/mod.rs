//! The balloon under a driver that does everything, checked by what comes to a recording host.

mod model;
mod registers;

use std::io;
use std::sync::Arc;

use crossbeam_queue::SegQueue;
use vm_memory::GuestAddress;

use super::{Balloon, BalloonOptions, Offered, PAGE_SIZE, PageReturn};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::virtio::testing::{Driver, Runner, activation};
use crate::virtio::{Features, VirtioDevice};

/// Takes pages, and knows which.
#[derive(Default)]
struct Host {
    taken: SegQueue<(u64, u64)>,
    refuses: AtomicBool,
}

impl PageReturn for Host {
    fn discard(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(io::Error::other("not now"));
        }
        assert!(gpa.0.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE) && len > 0);
        self.taken.push((gpa.0 / PAGE_SIZE, len / PAGE_SIZE));
        Ok(())
    }
}

impl Host {
    /// Start and number of the pages of each call since the last time.
    fn taken(&self) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| self.taken.pop()).collect()
    }
}

/// A balloon with every feature, its drivers (inflate, deflate, two that are not used, reports), and the host.
struct Bed {
    balloon: Balloon,
    drivers: Vec<Driver>,
    host: Arc<Host>,
}

impl Bed {
    fn new() -> Self {
        let host = Arc::new(Host::default());
        let options = BalloonOptions {
            size: 16 << 20,
            deflate_on_oom: Offered::Yes,
            free_page_reporting: Offered::Yes,
        };
        let balloon =
            Balloon::new("balloon0".into(), options, Arc::clone(&host) as Arc<dyn PageReturn>);
        Self { balloon: balloon.unwrap(), drivers: Driver::queues(5, 8), host }
    }

    fn run(&self) -> Runner {
        let features = Features(self.balloon.features());
        let mut workers = self.balloon.activate(activation(&self.drivers, features)).unwrap();
        Runner::start(workers.remove(0)).unwrap()
    }

    /// The first page behind RAM.
    fn end(&self) -> u32 {
        use vm_memory::GuestMemoryBackend as _;
        u32::try_from(self.drivers[0].memory.last_addr().0 / PAGE_SIZE + 1).unwrap()
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.balloon.counters();
        counters.into_iter().find(|(known, _)| *known == name).expect("it exists").1
    }
}

/// Page numbers as a driver writes them.
fn numbers(pages: impl IntoIterator<Item = u32>) -> Vec<u8> {
    pages.into_iter().flat_map(u32::to_le_bytes).collect()
}
