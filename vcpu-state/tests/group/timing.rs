//! What a pause says of its own time: its latency, and the parts of it.

use std::time::{Duration, Instant};

use vcpu_state::Deadline;

use crate::counting::{await_progress, group, join, run, sum};

#[test]
fn the_latency_is_that_from_the_request_to_the_last_ack() {
    let group = group(1);
    let before = Instant::now();
    let pending = group.signal_all().unwrap();
    let asked = Instant::now();
    while asked.elapsed().is_zero() {}
    let at_least = asked.elapsed();
    let quiesced = pending.wait_all().unwrap();
    assert!(at_least <= quiesced.latency() && quiesced.latency() <= before.elapsed());
}

#[test]
fn the_parts_of_a_pause_add_up_to_its_latency() {
    let group = group(4);
    let (threads, counters) = run(&group);
    await_progress(&counters, &sum(&counters));
    for _ in 0..50 {
        let paused = group.pause(Deadline::Never).unwrap();
        let parts = paused.parts();
        let all = parts.signalling + parts.stopping + parts.completing + parts.waking;
        assert_eq!(all, paused.latency(), "{parts:?}");
        // Of a pause beside another nobody stops: all had.
        let beside = group.pause(Deadline::Never).unwrap().parts();
        assert_eq!((beside.stopping, beside.completing), (Duration::ZERO, Duration::ZERO));
        paused.resume();
    }
    group.kill_all();
    join(threads);
}
