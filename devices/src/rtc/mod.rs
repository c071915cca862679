//! The real-time clock and its 128 bytes of CMOS memory (MC146818), ports 0x70 and 0x71.
//!
//! The clock shows the host's time in UTC and cannot be set: what is written to its time
//! registers is lost, and the alarm never rings. A guest that needs exact time has kvmclock;
//! this one tells it the date at boot.
//!
//! Registers by index: 0 to 9 the time, and the alarm in the odd ones up to 5; 0xA to 0xD status;
//! 0x32 the century; 0x15 to 0x18, 0x30, 0x31, 0x34, 0x35 and 0x5B to 0x5D the size of memory.
//! The rest is memory that keeps what is written until the device goes.
//!
//! Update in progress: a guest that reads `UIP` as 0 has at least 244 µs in which the time does
//! not change (MC146818A data sheet, "Update cycle"). Here the bit is set for as long as the chip
//! sets it, 244 + 1984 µs before a second ends, so that a guest whose accesses are slow
//! has as long as it would on the slowest chip. The second itself changes in one instant.
mod calendar;
mod saved;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bus::{AddressRange, ByteRegisters, Pio};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use calendar::DateTime;
pub use saved::SavedRtc;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0A;
const STATUS_B: u8 = 0x0B;
const STATUS_C: u8 = 0x0C;
const STATUS_D: u8 = 0x0D;
const CENTURY: u8 = 0x32;

/// Status A: an update is in progress or near.
const UIP: u8 = 0x80;
/// Status A: a 32,768 Hz crystal, periodic rate 1024 Hz.
const DIVIDER_AND_RATE: u8 = 0x26;
/// Status B: updates are halted, to set the time.
const HALTED: u8 = 0x80;
/// Status B: binary rather than BCD.
const BINARY: u8 = 0x04;
/// Status B: hours from 0 to 23.
const HOURS_24: u8 = 0x02;
/// Status D: the battery is good.
const VALID: u8 = 0x80;
/// Hours register in 12-hour mode: afternoon.
const PM: u8 = 0x80;

/// How long before a second ends [`UIP`] is set.
const UPDATE: Duration = Duration::from_micros(244 + 1984);
/// Index port: the upper bit disables NMIs and is not part of the index.
const INDEX_MASK: u8 = 0x7F;

/// Guest RAM, as the CMOS tells it to firmware and boot loaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySizes {
    /// Bytes from address 0 to the end of RAM below 4 GiB.
    pub below_4g: u64,
    /// Bytes of RAM above 4 GiB.
    pub above_4g: u64,
}

/// The clock and its memory.
pub struct Rtc {
    /// The register that the data port stands for.
    index: AtomicU8,
    memory: [AtomicU8; 128],
    /// Time since 1970, UTC.
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    reads: AtomicU64,
    ignored: AtomicU64,
}

impl Rtc {
    /// Where it answers.
    pub const PORTS: AddressRange<Pio> = AddressRange::constant(0x70, 2);

    /// A clock that shows the host's time.
    pub fn new(sizes: MemorySizes) -> Self {
        // A host whose clock stands before 1970 shows 1970.
        let host = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::with_clock(sizes, host)
    }

    /// A clock that shows another time, given as the time since 1970 in UTC.
    pub fn with_clock(
        sizes: MemorySizes,
        now: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let mut memory = [0; 128];
        memory[usize::from(STATUS_B)] = HOURS_24;
        sizes.store_in(&mut memory);
        Self {
            index: AtomicU8::new(STATUS_D),
            memory: memory.map(AtomicU8::new),
            now: Box::new(now),
            reads: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
        }
    }

    // Relaxed throughout: each register is a value of its own. A guest whose vCPUs share the
    // index must lock, as on a real machine.
    fn cell(&self, index: u8) -> &AtomicU8 {
        &self.memory[usize::from(index & INDEX_MASK)]
    }

    fn read_data(&self, index: u8) -> u8 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mode = self.cell(STATUS_B).load(Ordering::Relaxed);
        let number = |value: u8| if mode & BINARY == 0 { to_bcd(value) } else { value };
        let now = (self.now)();
        let time = || DateTime::from_unix(now.as_secs());
        match index {
            SECONDS => number(time().second),
            MINUTES => number(time().minute),
            HOURS if mode & HOURS_24 != 0 => number(time().hour),
            HOURS => {
                let hour = time().hour;
                let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
                number(twelve) | if hour >= 12 { PM } else { 0 }
            }
            WEEKDAY => number(time().weekday),
            DAY => number(time().day),
            MONTH => number(time().month),
            YEAR => number((time().year % 100).to_le_bytes()[0]),
            CENTURY => number((time().year / 100 % 100).to_le_bytes()[0]),
            STATUS_A => {
                let into_second = Duration::from_nanos(now.subsec_nanos().into());
                let near = into_second + UPDATE >= Duration::from_secs(1);
                let updating = mode & HALTED == 0 && near;
                DIVIDER_AND_RATE | if updating { UIP } else { 0 }
            }
            // No interrupt was ever raised.
            STATUS_C => 0,
            STATUS_D => VALID,
            _ => self.cell(index).load(Ordering::Relaxed),
        }
    }

    fn write_data(&self, index: u8, value: u8) {
        match index {
            SECONDS
            | MINUTES
            | HOURS
            | WEEKDAY..=YEAR
            | STATUS_A
            | STATUS_C
            | STATUS_D
            | CENTURY => {
                self.ignored.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.cell(index).store(value, Ordering::Relaxed),
        }
    }
}

impl ByteRegisters for Rtc {
    const NAME: &'static str = "rtc";

    fn read_register(&self, offset: u64) -> u8 {
        match offset {
            // The index port cannot be read.
            0 => 0xFF,
            _ => self.read_data(self.index.load(Ordering::Relaxed)),
        }
    }

    fn write_register(&self, offset: u64, value: u8) {
        match offset {
            0 => self.index.store(value & INDEX_MASK, Ordering::Relaxed),
            _ => self.write_data(self.index.load(Ordering::Relaxed), value),
        }
    }
}

impl CounterSource for Rtc {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("reads", self.reads.load(Ordering::Relaxed)),
            ("ignored_writes", self.ignored.load(Ordering::Relaxed)),
        ]
    }
}

impl MemorySizes {
    /// Writes the registers by which PC firmware tells the size of memory: KiB below 640 KiB,
    /// KiB above 1 MiB (at most 65,535), 64 KiB units above 16 MiB and above 4 GiB, all
    /// little endian.
    fn store_in(self, memory: &mut [u8; 128]) {
        let base = (self.below_4g >> 10).min(640);
        let extended = (self.below_4g.saturating_sub(1 << 20) >> 10).min(0xFFFF);
        let above_16m = (self.below_4g.saturating_sub(16 << 20) >> 16).min(0xFFFF);
        let above_4g = (self.above_4g >> 16).min(0xFF_FFFF);
        for (index, value, len) in [
            (0x15, base, 2),
            (0x17, extended, 2),
            (0x30, extended, 2),
            (0x34, above_16m, 2),
            (0x5B, above_4g, 3),
        ] {
            memory[index..index + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
    }
}

/// Two decimal digits, one in each half of the byte.
const fn to_bcd(value: u8) -> u8 {
    ((value / 10 % 10) << 4) | (value % 10)
}
