//! The registers by which ACPI methods of the guest learn of functions that come and go: 16 bytes, on either bus.
//!
//! | offset | width | name | read | write |
//! |---|---|---|---|---|
//! | 0x0 | 32 bits | PCIU | slots with a new function, and clears them | ignored |
//! | 0x4 | 32 bits | PCID | slots whose function is to be given up, and clears them | ignored |
//! | 0x8 | 32 bits | B0EJ | 0 | ejects the function of every slot whose bit is set |
//! | 0xC | 32 bits | reserved | 0 | ignored |
//!
//! Bit *n* is slot *n* of bus 0. Only 32-bit accesses at those offsets are defined (in AML: `DWordAcc`, `NoLock`,
//! `WriteAsZeros`); others read as zeros, clear nothing and are ignored.
//!
//! Reading clears in one step, so each announcement reaches the guest once, also when two vCPUs read. An AML
//! method reads PCIU and notifies every slot in it with 1 (device check), then PCID with 3 (eject request);
//! `_EJ0` of a slot writes its bit to B0EJ. The write returns at once; what is ejected is taken apart by other threads.
//!
//! The host sets a bit first, then the event of the GED ([`crate::ged::Ged`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::segment::Slot;
use crate::bus::{BusDevice, Written};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const UP: u64 = 0x0;
const DOWN: u64 = 0x4;
const EJECT: u64 = 0x8;

/// Who takes ejections.
pub trait EjectSink: Send + Sync {
    /// The guest has given up the function in a slot, or says so: there may be none. Called by vCPUs: never blocks.
    fn eject(&self, slot: Slot);
}

/// The registers.
pub struct PciHotplug {
    up: AtomicU32,
    down: AtomicU32,
    sink: Arc<dyn EjectSink>,
    announced: AtomicU64,
    removals_asked: AtomicU64,
    ejected: AtomicU64,
}

impl PciHotplug {
    /// Bytes of the block.
    pub const LEN: u64 = 16;

    /// Registers that pass ejections to `sink`.
    pub fn new(sink: Arc<dyn EjectSink>) -> Self {
        let (none, zero) = (|| AtomicU32::new(0), || AtomicU64::new(0));
        Self {
            up: none(),
            down: none(),
            sink,
            announced: zero(),
            removals_asked: zero(),
            ejected: zero(),
        }
    }

    /// Announces a function that has been inserted.
    pub fn announce(&self, slot: Slot) {
        // Release: pairs with the acquire of the read that takes the bit.
        self.up.fetch_or(bit(slot), Ordering::Release);
        self.announced.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the guest to give up a function.
    pub fn ask_removal(&self, slot: Slot) {
        // Release: as above.
        self.down.fetch_or(bit(slot), Ordering::Release);
        self.removals_asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// The registers as they are saved: what the guest has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHotplug {
    /// PCIU.
    pub up: u32,
    /// PCID.
    pub down: u32,
}

impl PciHotplug {
    /// What they are, while no vCPU touches them.
    #[must_use]
    pub fn save(&self) -> SavedHotplug {
        // Acquire: as for a read.
        let [up, down] = [&self.up, &self.down].map(|it| it.load(Ordering::Acquire));
        SavedHotplug { up, down }
    }

    /// Makes them these; any numbers are such that a guest can read.
    pub fn restore(&self, saved: SavedHotplug) {
        // Release: as for an announcement.
        self.up.store(saved.up, Ordering::Release);
        self.down.store(saved.down, Ordering::Release);
    }
}

const fn bit(slot: Slot) -> u32 {
    1 << slot.number()
}

impl BusDevice for PciHotplug {
    fn name(&self) -> &'static str {
        "pci-hotplug"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let Ok(data) = <&mut [u8; 4]>::try_from(data) else { return };
        let taken = match offset {
            // Acquire: pairs with the release of the announcement.
            UP => self.up.swap(0, Ordering::AcqRel),
            DOWN => self.down.swap(0, Ordering::AcqRel),
            _ => 0,
        };
        *data = taken.to_le_bytes();
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        if let (EJECT, Ok(slots)) = (offset, <[u8; 4]>::try_from(data)) {
            let slots = u32::from_le_bytes(slots);
            for slot in Slot::all().filter(|slot| slots & bit(*slot) != 0) {
                // Relaxed: a statistic.
                self.ejected.fetch_add(1, Ordering::Relaxed);
                self.sink.eject(slot);
            }
        }
        Written::Done
    }
}

impl CounterSource for PciHotplug {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: statistics.
        vec![
            ("announced", self.announced.load(Ordering::Relaxed)),
            ("removals_asked", self.removals_asked.load(Ordering::Relaxed)),
            ("ejections", self.ejected.load(Ordering::Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_queue::SegQueue;

    use super::*;

    #[derive(Default)]
    struct Ejections(SegQueue<u8>);

    impl EjectSink for Ejections {
        fn eject(&self, slot: Slot) {
            self.0.push(slot.number());
        }
    }

    fn read(registers: &PciHotplug, offset: u64) -> u32 {
        let mut data = [0xAA; 4];
        registers.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(registers: &PciHotplug, offset: u64, data: &[u8]) {
        assert!(matches!(registers.write(offset, data), Written::Done));
    }

    #[test]
    fn announcements_are_read_once() {
        let registers = PciHotplug::new(Arc::new(Ejections::default()));
        for number in [1, 31, 1] {
            registers.announce(Slot::new(number).unwrap());
        }
        registers.ask_removal(Slot::new(7).unwrap());
        assert_eq!(read(&registers, UP), 1 << 31 | 1 << 1);
        assert_eq!((read(&registers, UP), read(&registers, DOWN)), (0, 1 << 7));
        assert_eq!(
            (read(&registers, DOWN), read(&registers, EJECT), read(&registers, 12)),
            (0, 0, 0)
        );
    }

    #[test]
    fn other_widths_and_writes_clear_nothing() {
        let registers = PciHotplug::new(Arc::new(Ejections::default()));
        registers.announce(Slot::new(1).unwrap());
        for (offset, len) in [(0, 1), (0, 2), (0, 8), (1, 2), (2, 4)] {
            let mut data = vec![0xAA; len];
            registers.read(offset, &mut data);
            assert!(data.iter().all(|byte| *byte == 0));
        }
        write(&registers, UP, &[0xFF; 4]);
        write(&registers, DOWN, &[0xFF; 4]);
        assert_eq!((read(&registers, UP), read(&registers, DOWN)), (1 << 1, 0));
    }

    #[test]
    fn every_bit_that_is_written_ejects_its_slot() {
        let sink = Arc::new(Ejections::default());
        let registers = PciHotplug::new(Arc::<Ejections>::clone(&sink));
        write(&registers, EJECT, &0x8000_0006_u32.to_le_bytes());
        for (offset, len) in [(8, 1), (8, 2), (8, 8), (9, 4), (12, 4)] {
            write(&registers, offset, &vec![0xFF; len]);
        }
        let ejected: Vec<u8> = std::iter::from_fn(|| sink.0.pop()).collect();
        assert_eq!(ejected, [1, 2, 31]);
        let expected = [("announced", 0), ("removals_asked", 0), ("ejections", 3)];
        assert_eq!(registers.counters(), expected);
    }

    #[test]
    fn of_two_readers_one_sees_each_announcement() {
        const EACH: u64 = 3_000;
        let registers = PciHotplug::new(Arc::new(Ejections::default()));
        let seen = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let reading = || {
                while seen.load(Ordering::Relaxed) < EACH {
                    seen.fetch_add(read(&registers, UP).count_ones().into(), Ordering::Relaxed);
                    std::thread::yield_now();
                }
            };
            scope.spawn(reading);
            scope.spawn(reading);
            for turn in 0..EACH {
                registers.announce(Slot::new(1).unwrap());
                while seen.load(Ordering::Relaxed) <= turn {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!((seen.into_inner(), read(&registers, UP)), (EACH, 0));
    }
}
