//! bar-move-abba (CH, read).
//!
//! Mechanism: a vCPU moves a BAR: it locks the bus, then the device. The control plane removes the device: it
//! locks the device, then the bus.
//!
//! Invariant: published maps are immutable snapshots, replaced by one compare-and-swap; there is no second lock.
//! A map is a number here: bit 32 says that the device is mapped, the rest is where.

use std::sync::Arc;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicU64, Ordering};
use crate::checker::{Mutex, join, lock, thread};
use crate::model::{Bound, Finding, Model};
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("bar-move-abba", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

fn historic() {
    let bus = Arc::new(Mutex::new(()));
    let device = Arc::new(Mutex::new(()));
    let vcpu = {
        let (bus, device) = (Arc::clone(&bus), Arc::clone(&device));
        thread::spawn(move || {
            let _bus = lock(&bus);
            let _device = lock(&device);
        })
    };
    {
        let _device = lock(&device);
        let _bus = lock(&bus);
    }
    join(vcpu);
}

const MAPPED: u64 = 1 << 32;

/// Publishes what `change` makes of the newest map, if it makes anything of it.
fn publish(map: &AtomicU64, change: impl Fn(u64) -> Option<u64>) -> bool {
    map.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
}

fn ours() {
    let bed = Bed::new(1);
    let map = Arc::new(AtomicU64::new(MAPPED | 0x1000));
    let move_bar = {
        let map = Arc::clone(&map);
        move || {
            // A device that is gone is not moved.
            publish(&map, |map| (map & MAPPED != 0).then_some(MAPPED | 0x2000));
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(move_bar).end());
    assert!(publish(&map, |_| Some(0)));
    drop(bed.pause());
    join(vcpu);
    assert_eq!(map.load(Ordering::Acquire), 0, "a removed device was mapped again");
}
