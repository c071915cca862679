//! hotplug-stale-thread (CH #5419).
//!
//! Mechanism: a vCPU is unplugged by a flag, which the re-plug takes back for the new thread. The old thread
//! never saw it: two threads run one vCPU.
//!
//! Invariant: a slot is used again only after DEAD was observed and the thread joined; of several that try,
//! one is given it.

use std::sync::Arc;

use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("hotplug-stale-thread", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("two threads run one vCPU");

#[derive(Default)]
struct Slot {
    stop: bool,
    running: u32,
    shutdown: bool,
}

fn historic() {
    let slot = Arc::new(Monitor::new(Slot::default()));
    let vcpu = || {
        let slot = Arc::clone(&slot);
        thread::spawn(move || {
            let running = slot.change(|slot| {
                slot.running += 1;
                slot.running
            });
            assert!(running == 1, "two threads run one vCPU");
            drop(slot.wait_until(|slot| slot.stop || slot.shutdown));
            slot.change(|slot| slot.running -= 1);
        })
    };
    let first = vcpu();
    slot.change(|slot| slot.stop = true);
    slot.change(|slot| slot.stop = false);
    let second = vcpu();
    slot.change(|slot| slot.shutdown = true);
    join(first);
    join(second);
}

/// Plugs the slot, if it can be had. The thread ends by itself.
fn plug(bed: &Bed, running: &Arc<AtomicU32>) -> bool {
    if bed.group.reincarnate(0).is_err() {
        return false;
    }
    let vcpu = bed.vcpu(0, Script::halt().end());
    let running = Arc::clone(running);
    let thread = thread::spawn(move || {
        assert_eq!(running.fetch_add(1, Ordering::AcqRel), 0, "two threads run one vCPU");
        let report = vcpu.run();
        running.fetch_sub(1, Ordering::AcqRel);
        report
    });
    // Would fail if another thread ran the slot: its word would say so.
    assert_eq!(join(thread).exits, 1);
    true
}

fn ours() {
    let bed = Bed::new(1);
    let running = Arc::new(AtomicU32::new(0));
    let first = bed.spawn(0, Script::halt());
    let other = {
        let (bed, running) = (bed.clone(), Arc::clone(&running));
        bed.group.kill(0);
        thread::spawn(move || plug(&bed, &running))
    };
    // Too early unless the first thread is dead already.
    let ours = plug(&bed, &running);
    join(first);
    let plugs = u8::from(ours) + u8::from(join(other));
    let word = bed.group.word(0);
    assert!(word.is_some_and(|word| word.any(Word::DEAD) && word.incarnation() == plugs));
}
