//! The port through which a guest's kernel says that it has crashed: QEMU's ISA `pvpanic`, 0x505.
//!
//! A read tells which events can be told; a write tells one. Linux finds the port by its ACPI device, `QEMU0001`
//! (QEMU: `docs/specs/pvpanic.rst`; Linux: `drivers/misc/pvpanic`).
use std::sync::Arc;

use crate::bus::{AddressRange, ByteRegisters, Pio};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The guest's kernel has crashed.
const PANICKED: u8 = 1 << 0;
/// It has crashed, and another kernel now takes care of what is left.
const CRASH_LOADED: u8 = 1 << 1;

/// What a guest tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestPanic {
    /// The kernel has crashed and does nothing more.
    Panicked,
    /// The kernel has crashed, and a crash kernel is started in its place (kdump): the guest is better left alone.
    CrashLoaded,
}

/// Who is told.
pub trait PanicSink: Send + Sync {
    /// Takes note and returns at once; it is called by vCPU threads in the middle of an exit. Several vCPUs may tell
    /// at the same time, and tell again.
    fn report(&self, panic: GuestPanic);
}

/// The port.
pub struct PvPanic {
    sink: Arc<dyn PanicSink>,
    panics: AtomicU64,
    crash_loads: AtomicU64,
    ignored: AtomicU64,
}

impl PvPanic {
    /// Where it answers, also for the ACPI device's `_CRS`.
    pub const PORTS: AddressRange<Pio> = AddressRange::constant(0x505, 1);
    /// The ACPI device's `_HID`.
    pub const ACPI_ID: &'static str = "QEMU0001";

    /// A port that tells `sink`.
    pub fn new(sink: Arc<dyn PanicSink>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { sink, panics: zero(), crash_loads: zero(), ignored: zero() }
    }
}

impl ByteRegisters for PvPanic {
    const NAME: &'static str = "pvpanic";

    fn read_register(&self, _offset: u64) -> u8 {
        PANICKED | CRASH_LOADED
    }

    /// Of several events at once, the one that is worse counts, as in QEMU.
    fn write_register(&self, _offset: u64, value: u8) {
        let (count, panic) = if value & PANICKED != 0 {
            (&self.panics, Some(GuestPanic::Panicked))
        } else if value & CRASH_LOADED != 0 {
            (&self.crash_loads, Some(GuestPanic::CrashLoaded))
        } else {
            (&self.ignored, None)
        };
        // Relaxed: statistics.
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(panic) = panic {
            self.sink.report(panic);
        }
    }
}

impl CounterSource for PvPanic {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("panics", self.panics.load(Ordering::Relaxed)),
            ("crash_loads", self.crash_loads.load(Ordering::Relaxed)),
            ("ignored_writes", self.ignored.load(Ordering::Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::bus::Bus;

    struct Recorder(Sender<GuestPanic>);

    impl PanicSink for Recorder {
        fn report(&self, panic: GuestPanic) {
            self.0.send(panic).unwrap();
        }
    }

    #[test]
    fn every_value_is_told_by_its_worst_event_or_ignored() {
        let (sender, told) = channel();
        let device = Arc::new(PvPanic::new(Arc::new(Recorder(sender))));
        let bus = Bus::<Pio>::new();
        bus.publish(PvPanic::PORTS, device.clone()).unwrap();
        for value in 0..=u8::MAX {
            bus.write(0x505, &[value], |_| panic!("nothing to wait for"));
            let expected = match value & 3 {
                0 => None,
                2 => Some(GuestPanic::CrashLoaded),
                _ => Some(GuestPanic::Panicked),
            };
            assert_eq!(told.try_recv().ok(), expected, "{value:#x}");
        }
        assert_eq!(
            device.counters(),
            [("panics", 128), ("crash_loads", 64), ("ignored_writes", 64)]
        );
    }

    #[test]
    fn a_read_tells_what_can_be_told_and_tells_nobody() {
        let (sender, told) = channel();
        let device = Arc::new(PvPanic::new(Arc::new(Recorder(sender))));
        let bus = Bus::<Pio>::new();
        bus.publish(PvPanic::PORTS, device).unwrap();
        let mut data = [0; 2];
        bus.read(0x505, &mut data);
        assert_eq!(data, [3, 0xFF], "nobody is behind the next port");
        assert!(told.try_recv().is_err());
    }
}
