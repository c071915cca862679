//! A watchdog, between a guest that writes anything anywhere, a host that pauses, and a clock of made-up times. Nothing panics; what is
//! locked stays locked; it expires only when it is enabled and the guest has had two stages of running time since it last
//! reloaded, and never while the VM is paused; an expiry can be read.
#![no_main]
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use devices::CounterSource;
use devices::bus::Written;
use devices::pci::{BarIndex, PciFunction};
use devices::watchdog::testing::MadeUpClock;
use devices::watchdog::{Past, Watchdog, WatchdogSink};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Write {
        offset: u8,
        data: &'a [u8],
    },
    Read {
        offset: u8,
        len: u8,
    },
    WriteConfig {
        offset: u8,
        data: &'a [u8],
    },
    ReadConfig {
        offset: u8,
        len: u8,
    },
    /// The registers as a driver writes them, more often than chance would.
    Preload {
        second: bool,
        value: u32,
    },
    Reload {
        value: u16,
    },
    Lock(u8),
    Time {
        millis: u16,
    },
    Pause,
    Resume,
}

/// No stage is shorter.
const STAGE: Duration = Duration::from_millis(1);

struct Nobody;

impl WatchdogSink for Nobody {
    fn expired(&self) {}
}

struct Machine {
    watchdog: Watchdog,
    clock: MadeUpClock,
    now: Duration,
    /// Running time since the count began anew.
    running: Duration,
    paused: bool,
    reloads: u64,
}

impl Machine {
    fn lock(&self) -> u8 {
        let mut data = [0];
        assert!(self.watchdog.read_config_window(0x68, &mut data));
        data[0]
    }

    fn reloads(&self) -> u64 {
        let counters = self.watchdog.counters();
        counters.iter().find(|(name, _)| *name == "reloads").expect("it counts").1
    }

    fn write(&self, offset: u64, data: &[u8]) {
        assert!(matches!(self.watchdog.write_bar(BarIndex(0), offset, data), Written::Done));
    }

    fn unlocked(&self, offset: u64, data: &[u8]) {
        self.write(0xC, &[0x80, 0]);
        self.write(0xC, &[0x86, 0]);
        self.write(offset, data);
    }

    fn config(&self, offset: u16, data: &[u8]) {
        // As the segment lets it come through.
        if usize::from(offset % 4) + data.len() <= 4 {
            self.watchdog.config().write(offset, data);
            assert!(matches!(self.watchdog.config_written(offset, data), Written::Done));
        }
    }

    fn apply(&mut self, op: &Op<'_>) {
        let enabled = self.lock() & 2 != 0;
        match op {
            Op::Write { offset, data } => {
                self.write(u64::from(offset % 16), &data[..data.len().min(8)]);
            }
            Op::Read { offset, len } => {
                let mut data = vec![0xAA; usize::from(len % 9)];
                self.watchdog.read_bar(BarIndex(0), u64::from(offset % 16), &mut data);
                assert!(data.len() == 4 || data.len() == 2 || data.iter().all(|byte| *byte == 0));
            }
            Op::WriteConfig { offset, data } => {
                self.config(u16::from(*offset), &data[..data.len().min(4)]);
            }
            Op::ReadConfig { offset, len } => {
                let mut data = vec![0xAA; usize::from(len % 5)];
                self.watchdog.read_config_window(u16::from(*offset), &mut data);
            }
            Op::Preload { second, value } => {
                self.unlocked(4 * u64::from(*second), &value.to_le_bytes());
            }
            Op::Reload { value } => self.unlocked(0xC, &value.to_le_bytes()),
            Op::Lock(value) => self.config(0x68, &[*value]),
            Op::Time { millis } => {
                let passed = Duration::from_millis(u64::from(*millis));
                self.now += passed;
                if !self.paused {
                    self.running += passed;
                }
            }
            Op::Pause if !self.paused => {
                self.clock.stand_still(self.now);
                self.paused = true;
            }
            Op::Resume if self.paused => {
                self.clock.go_on(self.now);
                self.paused = false;
            }
            Op::Pause | Op::Resume => {}
        }
        let reloads = self.reloads();
        if reloads != self.reloads || !enabled && self.lock() & 2 != 0 {
            self.reloads = reloads;
            self.running = Duration::ZERO;
        }
    }

    fn look(&mut self) {
        if self.paused || !self.clock.look(self.now) {
            return;
        }
        assert!(self.lock() & 2 != 0, "it expires though it is off");
        assert!(self.running >= 2 * STAGE, "it expires after {:?}", self.running);
        let mut status = [0; 2];
        self.watchdog.read_bar(BarIndex(0), 0xC, &mut status);
        assert_eq!(u16::from_le_bytes(status), 0x200);
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let watchdog = Watchdog::new(Past::Other, Arc::new(Nobody)).expect("a descriptor");
    let clock = MadeUpClock::of(&watchdog);
    let zero = Duration::ZERO;
    let mut machine =
        Machine { watchdog, clock, now: zero, running: zero, paused: false, reloads: 0 };
    for op in &ops {
        let lock = machine.lock();
        machine.apply(op);
        assert!(lock & 1 == 0 || machine.lock() == lock, "it was locked");
        machine.look();
    }
});
