//! dead-worker-unplug (CH #8763).
//!
//! Mechanism: an unplug tells the device's worker to stop and waits until it says so. The worker died of an
//! error long ago.
//!
//! Invariant: an unplug does not depend on the worker: it waits for DEAD, which a worker publishes on every way
//! out.

use std::sync::Arc;

use vcpu_state::{Deadline, Word};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("dead-worker-unplug", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(5));

#[derive(Default)]
struct Worker {
    stop: bool,
    stopped: bool,
}

fn historic() {
    let worker = Arc::new(Monitor::new(Worker::default()));
    let thread = {
        let worker = Arc::clone(&worker);
        thread::spawn(move || {
            let stop = worker.lock().stop;
            if stop {
                worker.change(|worker| worker.stopped = true);
            }
            // Otherwise it reads a broken descriptor, and that is its end.
        })
    };
    worker.change(|worker| worker.stop = true);
    drop(worker.wait_until(|worker| worker.stopped));
    join(thread);
}

fn ours() {
    let bed = Bed::new(1);
    let worker = bed.spawn(0, Script::halt().end());
    bed.group.kill(0);
    assert_eq!(bed.group.wait_dead(Deadline::Never), Ok(()));
    join(worker);
    assert!(bed.group.words().all(|word| word.any(Word::DEAD)));
}
