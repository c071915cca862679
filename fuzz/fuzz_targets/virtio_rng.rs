//! The ring of an entropy source, filled by a driver that does anything: nothing panics or loops, only a broken rule
//! breaks the device, and no request is given more than its bound.
#![no_main]
use devices::CounterSource;
use devices::virtio::rng::Rng;
use devices::virtio::testing::{Driver, Runner, activation};
use devices::virtio::{Features, VirtioDevice};
use libfuzzer_sys::fuzz_target;

mod rings;

const REQUEST_LIMIT: u64 = 64 << 10;

fuzz_target!(|ops: Vec<rings::RingOp<'_>>| {
    let rng = Rng::open("rng0", "/dev/zero".as_ref()).expect("it is there");
    let mut drivers = Driver::queues(1, 16);
    let features = Features(Features::EVENT_IDX * (ops.len() as u64 % 2));
    let worker = rng.activate(activation(&drivers, features)).expect("it can work").remove(0);
    let mut runner = Runner::start(worker).expect("it starts");
    for op in &ops {
        rings::apply(op, &mut drivers[0]);
        if !rings::work(&mut runner) {
            break;
        }
    }
    let counters = rng.counters();
    let counter = |name| counters.iter().find(|(known, _)| *known == name).expect("it exists").1;
    let (requests, bytes) = (counter("requests"), counter("bytes"));
    assert!(requests <= bytes && bytes <= requests * REQUEST_LIMIT);
});
