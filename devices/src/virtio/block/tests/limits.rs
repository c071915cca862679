//! Throttled disks. No test waits for a time: a limit of so many requests an hour lets exactly so many through.

use std::time::Duration;

use super::*;
use crate::virtio::limit::{Limits, TokenBucket};

const HOUR: Duration = Duration::from_hours(1);

fn bucket(size: u64, one_time_burst: u64) -> TokenBucket {
    TokenBucket { size, one_time_burst, refill_time: HOUR }
}

fn throttled(engine: Engine, limits: Limits) -> Rig {
    Rig::raw(64, |options| {
        options.engine = engine;
        options.limits = limits;
    })
}

/// Sends reads of two sectors, and says how many come back before the limit.
fn pass(rig: &mut Rig, count: usize) -> usize {
    for _ in 0..count {
        rig.send(IN, 0, &[], &[1024, 1]);
    }
    rig.runner.step().unwrap();
    rig.runner.drain().unwrap();
    std::iter::from_fn(|| rig.driver.used()).count()
}

#[test]
fn requests_beyond_a_limit_wait_and_a_drain_does_not_wait_for_them() {
    for engine in ENGINES {
        let operations = Limits { operations: Some(bucket(3, 2)), bandwidth: None };
        let mut rig = throttled(engine, operations);
        assert_eq!(pass(&mut rig, 8), 5);
        assert_eq!(rig.counter("throttled"), 1);
        assert_eq!(pass(&mut rig, 1), 0);
        assert_eq!(rig.counter("read_ops"), 5);

        let bandwidth = Limits { operations: None, bandwidth: Some(bucket(4096, 0)) };
        let mut rig = throttled(engine, bandwidth);
        assert_eq!(pass(&mut rig, 8), 4);
        assert_eq!(rig.counter("read_bytes"), 4096);
    }
}

#[test]
fn the_timer_lets_what_waits_through() {
    for engine in ENGINES {
        let refill_time = Duration::from_millis(1);
        let bucket = TokenBucket { size: 1, one_time_burst: 0, refill_time };
        let mut rig = throttled(engine, Limits { operations: Some(bucket), bandwidth: None });
        for _ in 0..10 {
            rig.send(IN, 0, &[], &[512, 1]);
        }
        // It sleeps between them, and only the timer wakes it.
        assert_eq!(rig.collect(10).len(), 10);
        assert!(rig.counter("throttled") > 0);
    }
}

#[test]
fn queues_share_a_limit() {
    let dir = TempDir::new().unwrap();
    let mut options = BlockOptions::new("disk0", raw_image(dir.path(), 64));
    options.num_queues = 2;
    options.limits.operations = Some(bucket(5, 0));
    let device = BlockDevice::open(options).unwrap();
    let mut drivers = Driver::queues(2, 64);
    let workers = device.activate(activation(&drivers, Features(0))).unwrap();
    assert_eq!(workers.len(), 2);
    let mut passed = 0;
    for (driver, worker) in drivers.iter_mut().zip(workers) {
        let header = header(IN, 0);
        for _ in 0..4 {
            driver.send(&Buffers { readable: vec![&header], writable: vec![512, 1] });
        }
        let mut runner = Runner::start(worker).unwrap();
        runner.step().unwrap();
        runner.drain().unwrap();
        passed += std::iter::from_fn(|| driver.used()).count();
    }
    assert_eq!(passed, 5);
}

#[test]
fn a_limit_that_lets_nothing_through_is_refused() {
    let rig = Rig::raw(1, |_| ());
    for bucket in [
        TokenBucket { size: 0, one_time_burst: 1, refill_time: HOUR },
        TokenBucket { size: 1, one_time_burst: 1, refill_time: Duration::ZERO },
    ] {
        for limits in [
            Limits { bandwidth: Some(bucket), operations: None },
            Limits { bandwidth: None, operations: Some(bucket) },
        ] {
            let options = BlockOptions { limits, ..BlockOptions::new("again", rig.path()) };
            let error = BlockDevice::open(options).err().unwrap();
            assert!(error.to_string().contains("refill time above zero"), "{error}");
        }
    }
}
