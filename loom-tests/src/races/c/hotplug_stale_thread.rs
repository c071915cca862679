//! hotplug-stale-thread (CH #5419).
//!
//! Mechanism: a vCPU is unplugged by a flag, which the re-plug takes back for the new thread. The old thread
//! never saw it: two threads run one vCPU.
//!
//! Invariant: a slot is used again only after DEAD was observed and the thread joined, which is when the registers show it as absent.

use std::sync::Arc;

use devices::cpu_hotplug::Presence;
use vcpu_state::Word;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::cpus::Hotplug;
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
fn plug(bed: &Bed, hotplug: &Hotplug, running: &Arc<AtomicU32>) -> bool {
    let free = hotplug.registers.presence(1) == Presence::Absent;
    if !free || bed.group.reincarnate(1).is_err() {
        return false;
    }
    let vcpu = bed.vcpu(1, Script::halt().end());
    let running = Arc::clone(running);
    let thread = thread::spawn(move || {
        assert_eq!(running.fetch_add(1, Ordering::AcqRel), 0, "two threads run one vCPU");
        let report = vcpu.run();
        running.fetch_sub(1, Ordering::AcqRel);
        report
    });
    assert_eq!(hotplug.registers.insert(1), Ok(()));
    // Would fail if another thread ran the slot: its word would say so.
    assert_eq!(join(thread).exits, 1);
    true
}

fn ours() {
    let bed = Bed::new(2);
    let hotplug = Hotplug::new(2);
    let running = Arc::new(AtomicU32::new(0));
    let first = bed.spawn(1, Script::halt());
    let guest = {
        let hotplug = hotplug.clone();
        thread::spawn(move || drop(hotplug.eject(1)))
    };
    // Too early, whether the guest has let go of it or not: the first thread is there.
    assert!(!plug(&bed, &hotplug, &running));
    hotplug.retire(&bed, 1, first);
    assert!(plug(&bed, &hotplug, &running), "a slot that is free cannot be had");
    let word = bed.group.word(1);
    assert!(word.is_some_and(|word| word.any(Word::DEAD) && word.incarnation() == 1));
    assert_eq!(hotplug.registers.presence(1), Presence::Inserting);
    join(guest);
}
