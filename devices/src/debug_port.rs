//! The debug port, 0x80: firmware and kernels write progress codes to it, and Linux uses such a
//! write as a short delay (`io_delay`).
//!
//! It keeps the code written last, which is also what reads return, and counts the writes.
use crate::bus::{AddressRange, ByteRegisters, Pio};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The debug port.
#[derive(Default)]
pub struct DebugPort {
    code: AtomicU8,
    writes: AtomicU64,
}

impl DebugPort {
    /// Where it answers.
    pub const PORTS: AddressRange<Pio> = AddressRange::constant(0x80, 1);

    /// The code that was written last.
    pub fn code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }

    /// Makes it this one, of a port that was saved: all that it is.
    pub fn restore(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
    }
}

// Relaxed throughout: nothing is published through a progress code or a statistic.
impl ByteRegisters for DebugPort {
    const NAME: &'static str = "debug port";

    fn read_register(&self, _offset: u64) -> u8 {
        self.code()
    }

    fn write_register(&self, _offset: u64, value: u8) {
        self.code.store(value, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl CounterSource for DebugPort {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("writes", self.writes.load(Ordering::Relaxed))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::BusDevice;

    #[test]
    fn keeps_the_last_code_and_counts() {
        let port = DebugPort::default();
        let _ = port.write(0, &[0x31]);
        let _ = port.write(0, &[0x42]);
        let mut data = [0];
        port.read(0, &mut data);
        assert_eq!((data, port.code(), port.counters()), ([0x42], 0x42, vec![("writes", 2)]));
    }
}
