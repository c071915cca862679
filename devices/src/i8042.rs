//! What is left of the keyboard controller, 0x60 and 0x64: the line that resets the processor.
//!
//! There is no keyboard and no mouse behind it. Its status register says for ever that a byte
//! waits to be read and that the controller can take a command. A driver that looks for a
//! controller first reads what waits, finds that there is no end to it, and gives up: Linux
//! (`i8042_flush`) after 16 reads, in less than a millisecond, with "No controller found". A
//! kernel that reboots through the controller waits only until it can take a command (Linux:
//! `kb_wait`), which is at once.
use std::sync::Arc;

use crate::bus::{AddressRange, ByteRegisters, Pio};
use crate::counters::CounterSource;
use crate::power::{PowerRequest, PowerSink};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Offset of the data port, 0x60.
const DATA: u64 = 0;
/// Offset of the command port (written) and the status port (read), 0x64.
const COMMAND: u64 = 4;
/// Command: pulse no output line but the one that resets the processor.
const PULSE_RESET: u8 = 0xFE;
/// Status: output buffer full, system flag, last write was a command, keyboard not locked;
/// input buffer empty.
const STATUS: u8 = 0x01 | 0x04 | 0x08 | 0x10;

/// The reset line of the keyboard controller.
pub struct I8042 {
    power: Arc<dyn PowerSink>,
    resets: AtomicU64,
    ignored: AtomicU64,
}

impl I8042 {
    /// Where it answers. The ports between belong to others (0x61: the in-kernel PIT) and read
    /// as if nobody were there.
    pub const PORTS: AddressRange<Pio> = AddressRange::constant(0x60, 5);

    /// A controller that asks `power` for a reset.
    pub fn new(power: Arc<dyn PowerSink>) -> Self {
        Self { power, resets: AtomicU64::new(0), ignored: AtomicU64::new(0) }
    }
}

impl ByteRegisters for I8042 {
    const NAME: &'static str = "i8042";

    fn read_register(&self, offset: u64) -> u8 {
        match offset {
            DATA => 0,
            COMMAND => STATUS,
            _ => 0xFF,
        }
    }

    fn write_register(&self, offset: u64, value: u8) {
        // Relaxed: statistics.
        if (offset, value) == (COMMAND, PULSE_RESET) {
            self.resets.fetch_add(1, Ordering::Relaxed);
            self.power.request(PowerRequest::Reset);
        } else {
            self.ignored.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl CounterSource for I8042 {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("resets", self.resets.load(Ordering::Relaxed)),
            ("ignored_writes", self.ignored.load(Ordering::Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::BusDevice;
    use crate::power::testing::Requests;

    #[test]
    fn only_the_reset_command_resets() {
        let power = Arc::new(Requests::default());
        let i8042 = I8042::new(power.clone());
        for offset in 0..5 {
            for value in 0..=u8::MAX {
                let _ = i8042.write(offset, &[value]);
            }
        }
        assert_eq!(power.seen(), (0, 1));
        assert_eq!(i8042.counters(), [("resets", 1), ("ignored_writes", 5 * 256 - 1)]);
    }

    /// What Linux's `i8042_flush` and `kb_wait` do.
    #[test]
    fn a_probe_gives_up_and_a_reboot_does_not_wait() {
        let i8042 = I8042::new(Arc::new(Requests::default()));
        let status = || {
            let mut data = [0];
            i8042.read(4, &mut data);
            data[0]
        };
        for _ in 0..17 {
            assert_eq!(status() & 0x01, 0x01, "the output buffer never runs empty");
            i8042.read(0, &mut [0]);
        }
        assert_eq!(status() & 0x02, 0, "the input buffer is free");
    }
}
