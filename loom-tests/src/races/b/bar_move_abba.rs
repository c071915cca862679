//! bar-move-abba (CH, read).
//!
//! Mechanism: a vCPU moves a BAR: it locks the bus, then the device. The control plane removes the device: it
//! locks the device, then the bus.
//!
//! Invariant: published maps are immutable snapshots, replaced by one compare-and-swap; there is no second lock.
//! The vCPU changes a register and waits with a ticket; the attendant alone makes the bus agree, with the table of functions
//! and the registers as it finds them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use devices::bus::{AddressRange, BusDevice, Mmio, Written};

use crate::bed::{Bed, Script};
use crate::checker::{Mutex, join, lock, thread};
use crate::model::{Bound, Finding, Model};
use crate::pci::{BAR_LEN, Root, attend, function};
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("bar-move-abba", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

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

/// Where the guest moves it.
const TO: u64 = (1 << 40) + 16 * BAR_LEN;
/// Where another device appears meanwhile.
const OTHER: AddressRange<Mmio> = AddressRange::constant(0xD000_0000, 4);

fn ours() {
    let bed = Bed::new(1);
    let (root, mut attendant) = Root::new(&bed.group);
    let slot = root.insert(&function(1));
    let from = root.bar(slot);
    assert!(matches!(root.enable(slot), Handled::Wait(_)));
    while attendant.round() {}
    assert_eq!(root.tag_at(from), Some(1));

    let moved = Arc::new(AtomicBool::new(false));
    let (moves, waits) = (Arc::clone(&root), Arc::clone(&moved));
    let move_bar = move || {
        let handled = moves.move_bar(slot, TO);
        // Without a wait there was no function any longer.
        waits.store(matches!(handled, Handled::Wait(_)), Relaxed);
        handled
    };
    let looks = Arc::clone(&root);
    let look = move || {
        let stays = moved.load(Relaxed) && looks.tag_at(from).is_some();
        assert!(!stays, "a BAR answers where it was before its move");
        Handled::Done
    };
    let vcpu = bed.spawn(0, Script::halt().exit(move_bar).exit(look).end());
    let attendant = attend(attendant);
    assert_eq!(root.segment.remove(slot), Ok(()));
    assert_eq!(root.publish(OTHER, Arc::new(Registers)), Ok(()));
    drop(bed.pause());
    join(vcpu);
    root.await_gone(1);
    root.segment.stop();
    join(attendant);
    let left: Vec<_> = root.answering().into_iter().map(|(range, _)| range).collect();
    assert_eq!(left, [OTHER], "a removed device is mapped, or another one was lost");
}

/// Another device.
struct Registers;

impl BusDevice for Registers {
    fn name(&self) -> &'static str {
        "other"
    }

    fn read(&self, _: u64, _: &mut [u8]) {}

    fn write(&self, _: u64, _: &[u8]) -> Written {
        Written::Done
    }
}
