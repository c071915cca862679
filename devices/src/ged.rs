//! The register of the Generic Event Device (ACPI 6.5, 5.6.9): which events there are, behind one interrupt.
//!
//! | offset | width | read | write |
//! |---|---|---|---|
//! | 0x0 | 32 bits | the events since the last read, and clears them | ignored |
//!
//! | bit | event | what `_EVT` does |
//! |---|---|---|
//! | 0 | CPUs have come or are to go | looks at the CPU hotplug registers |
//! | 1 | memory has come or is to go | looks at the memory hotplug registers |
//! | 2 | PCI functions have come or are to go | looks at the PCI hotplug registers |
//! | 3 | the power button was pressed | notifies the button with 0x80 |
//!
//! Only a 32-bit read at offset 0 is defined (in AML: `DWordAcc`, `NoLock`, `WriteAsZeros`); others read as zeros and
//! clear nothing.
//!
//! Every event raises the interrupt after its bit is set, whether or not others wait: an edge too many reads as no
//! event, and none is ever missing. Reading clears in one step, so an event is seen by one reader.

use crate::bus::{BusDevice, Written};
use crate::counters::CounterSource;
use crate::interrupt::Interrupt;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What has happened to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GedEvent {
    /// CPUs have come or are to go.
    CpuHotplug,
    /// Memory has come or is to go.
    MemoryHotplug,
    /// PCI functions have come or are to go.
    PciHotplug,
    /// The power button was pressed.
    PowerButton,
}

impl GedEvent {
    /// Its bit in the register, for AML.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The register.
pub struct Ged {
    events: AtomicU32,
    interrupt: Box<dyn Interrupt>,
    raised: AtomicU64,
}

impl Ged {
    /// Bytes of the block.
    pub const LEN: u64 = 4;

    /// A register without events.
    pub fn new(interrupt: Box<dyn Interrupt>) -> Self {
        Self { events: AtomicU32::new(0), interrupt, raised: AtomicU64::new(0) }
    }

    /// Tells the guest. Never blocks.
    pub fn raise(&self, event: GedEvent) {
        // Release: pairs with the acquire of the read that takes the bit; what the event is about is seen.
        self.events.fetch_or(event.bit(), Ordering::Release);
        // Relaxed: a statistic.
        self.raised.fetch_add(1, Ordering::Relaxed);
        self.interrupt.raise();
    }
}

/// Every event that there is.
const EVENTS: u32 = GedEvent::CpuHotplug.bit()
    | GedEvent::MemoryHotplug.bit()
    | GedEvent::PciHotplug.bit()
    | GedEvent::PowerButton.bit();

impl Ged {
    /// The events that the guest has not read yet, as the register's bits: all that is to be saved.
    #[must_use]
    pub fn save(&self) -> u32 {
        // Acquire: pairs with the release in `raise`.
        self.events.load(Ordering::Acquire)
    }

    /// Whether it could have these events.
    ///
    /// # Errors
    /// There are none like that.
    pub fn check(&self, events: u32) -> Result<(), Unfit> {
        Unfit::unless_within("the events of the general event device", events, EVENTS)
    }

    /// Tells the guest of events of a device that was saved. Their edge may have been under way, so there is another one.
    ///
    /// # Errors
    /// There are none like that; nothing has changed then.
    pub fn restore(&self, events: u32) -> Result<(), Unfit> {
        self.check(events)?;
        if events != 0 {
            // Release: as in `raise`.
            self.events.fetch_or(events, Ordering::Release);
            self.interrupt.raise();
        }
        Ok(())
    }
}

impl BusDevice for Ged {
    fn name(&self) -> &'static str {
        "ged"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let (0, Ok(data)) = (offset, <&mut [u8; 4]>::try_from(data)) {
            // Acquire: pairs with the release in `raise`.
            *data = self.events.swap(0, Ordering::AcqRel).to_le_bytes();
        }
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Written {
        Written::Done
    }
}

impl CounterSource for Ged {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: a statistic.
        vec![("events", self.raised.load(Ordering::Relaxed))]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default)]
    struct Edges(AtomicU64);

    impl Interrupt for Arc<Edges> {
        fn raise(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ged() -> (Ged, Arc<Edges>) {
        let edges = Arc::new(Edges::default());
        (Ged::new(Box::new(Arc::clone(&edges))), edges)
    }

    fn read(ged: &Ged) -> u32 {
        let mut data = [0xAA; 4];
        ged.read(0, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn every_event_has_its_bit_is_read_once_and_interrupts() {
        let (ged, edges) = ged();
        let events = [
            (GedEvent::CpuHotplug, 0b0001),
            (GedEvent::MemoryHotplug, 0b0010),
            (GedEvent::PciHotplug, 0b0100),
            (GedEvent::PowerButton, 0b1000),
        ];
        for (event, bit) in events {
            ged.raise(event);
            ged.raise(event);
            assert_eq!((read(&ged), read(&ged)), (bit, 0));
        }
        for (event, _) in events {
            ged.raise(event);
        }
        assert_eq!(read(&ged), 0b1111);
        assert_eq!((edges.0.load(Ordering::Relaxed), ged.counters()), (12, vec![("events", 12)]));
    }

    #[test]
    fn other_widths_and_writes_clear_nothing() {
        let (ged, _edges) = ged();
        ged.raise(GedEvent::PciHotplug);
        for (offset, len) in [(0, 1), (0, 2), (0, 8), (1, 1), (4, 4)] {
            let mut data = vec![0xAA; len];
            ged.read(offset, &mut data);
            assert!(data.iter().all(|byte| *byte == 0));
        }
        assert!(matches!(ged.write(0, &[0xFF; 4]), Written::Done));
        assert_eq!(read(&ged), GedEvent::PciHotplug.bit());
    }
}
