//! The card on socket pairs instead of a tap: what it does with each packet can be seen exactly.

mod control;
mod double;
mod flow;
mod limits;
mod merged;
mod properties;
mod registers;

use std::sync::Arc;

use super::features::MRG_RXBUF;
use super::{Backend, MacAddress, Net, NetOptions, Offloads};
use crate::counters::CounterSource;
use crate::virtio::limit::Limits;
use crate::virtio::testing::{Driver, Runner, activation};
use crate::virtio::{Features, VirtioDevice};
use double::Double;

/// A header that says nothing.
const PLAIN: [u8; 12] = [0; 12];

/// A card, its drivers (two for each pair, then that of the control queue), and the other end.
struct Bed {
    net: Net,
    drivers: Vec<Driver>,
    double: Arc<Double>,
    features: Features,
}

impl Bed {
    fn new(pairs: u16) -> Self {
        Self::with_limits(pairs, Limits::default())
    }

    fn with_limits(pairs: u16, limits: Limits) -> Self {
        let double = Arc::new(Double::new(pairs, Offloads::ALL));
        let options = NetOptions {
            num_queues: 2 * pairs,
            queue_size: 8,
            mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            mtu: Some(1400),
            limits,
            ..NetOptions::default()
        };
        let backend = Arc::clone(&double) as Arc<dyn Backend>;
        let net = Net::with_backend("net0".into(), &options, backend).unwrap();
        let queues = u16::try_from(net.queue_sizes().len()).unwrap();
        // Each packet in one buffer, unless a test says otherwise.
        let features = Features(net.features() & !MRG_RXBUF);
        Self { net, drivers: Driver::queues(queues, 8), double, features }
    }

    /// Every worker, started and at rest; with several pairs that of the control queue is the last.
    fn run(&self) -> Vec<Runner> {
        let workers = self.net.activate(activation(&self.drivers, self.features)).unwrap();
        let mut runners: Vec<_> =
            workers.into_iter().map(|worker| Runner::start(worker).unwrap()).collect();
        for runner in &mut runners {
            runner.step().unwrap();
        }
        runners
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.net.counters();
        counters.into_iter().find(|(known, _)| *known == name).expect("it exists").1
    }
}
