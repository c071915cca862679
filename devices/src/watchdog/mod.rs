//! A watchdog: Intel's 6300ESB, which Linux knows as `i6300esb` (Intel 6300ESB I/O Controller Hub, section 16; Linux:
//! `drivers/watchdog/i6300esb.c`).
//!
//! ```text
//!   vCPU ── BAR 0, configuration space ──▶ Registers (one word) ◀── clock: a thread in the device workers' group
//!                     └──────── bell ─────────────────────────────▶   └── time is up ──▶ WatchdogSink
//! ```
//!
//! | where | width | register | |
//! |---|---|---|---|
//! | configuration 0x60 | 16 bits | configuration | bit 2: prescaler 2⁵ and not 2¹⁵; bit 5: an expiry has no effect; bits 0 and 1: kept, there is no interrupt |
//! | configuration 0x68 | 8 bits | lock | bit 0: locked until a reset; bit 1: enabled; bit 2: begins again after its end |
//! | BAR 0, 0x0 and 0x4 | 32 bits | preload 1 and 2 | 20 bits each: the length of a stage, in prescaled PCI clocks of 33 MHz |
//! | BAR 0, 0x8 | 32 bits | interrupt status | reads 0 |
//! | BAR 0, 0xC | 16 or 32 bits | reload | bit 8: begin to count anew; bit 9: it has expired, and writing it forgets that |
//!
//! A write to the block takes effect only right after 0x80 and 0x86 were written to the reload register, and closes it again. The watchdog
//! expires when both stages have passed without a reload; the sink then resets the machine. The first stage's interrupt
//! does not exist.
//!
//! Invariants: vCPUs touch atomics only, and ring a bell; the watchdog counts the guest's time, which stands still while the VM is
//! paused: what was left is left afterwards; it does not expire once the guest has reloaded, however late its thread is.

mod clock;
mod count;
mod registers;
mod saved;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod word;

use std::io;
use std::sync::Arc;

use vcpu_state::Member;

use crate::bus::Written;
use crate::counters::CounterSource;
use crate::event::Event;
use crate::pci::{
    BarIndex, BarSpace, ConfigBuilder, ConfigError, ConfigSpace, Identity, PciFunction,
};
use crate::sync::atomic::Ordering;
use registers::Registers;
pub use saved::{SavedStage, SavedWatchdog};
use word::{Event as Change, Register, Word};

const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x25AB,
    revision: 0,
    // A system peripheral of no other kind.
    class: 0x08_8000,
    subsystem_vendor: 0x8086,
    subsystem: 0x25AB,
};
const BAR: BarIndex = BarIndex(0);
const BAR_LEN: u64 = 16;
/// Configuration space: the configuration register's low byte, in which all its bits are.
const CONFIGURATION: u16 = 0x60;
/// Configuration space: the lock register.
const LOCK: u16 = 0x68;

/// Who is told that the guest's time is up.
pub trait WatchdogSink: Send + Sync {
    /// Takes note and returns at once; called by the clock's thread, perhaps again and again.
    fn expired(&self);
}

/// Why the machine begins, as far as a watchdog's registers tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// Not because a watchdog expired.
    #[default]
    Other,
    /// Because the watchdog expired: the guest reads so in the reload register.
    Expired,
}

/// A watchdog cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// Its configuration space cannot be made.
    #[error("its configuration space: {0}")]
    Config(#[from] ConfigError),
    /// The host has no descriptor left.
    #[error("the host refuses an eventfd: {0}")]
    Host(#[from] io::Error),
}

/// The watchdog as a PCI function.
pub struct Watchdog {
    config: ConfigSpace,
    shared: Arc<Shared>,
}

/// What vCPUs and the clock share.
struct Shared {
    registers: Registers,
    /// What the count has left while the clock stands still.
    left: saved::Left,
    bell: Event,
    sink: Arc<dyn WatchdogSink>,
}

impl Watchdog {
    /// One that does not count yet.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new(past: Past, sink: Arc<dyn WatchdogSink>) -> Result<Self, WatchdogError> {
        let mut config = ConfigBuilder::new(IDENTITY);
        config.add_bar(BAR, BarSpace::Memory32, BAR_LEN)?;
        let registers = Registers::new(Word::after_reset(past == Past::Expired));
        let shared =
            Arc::new(Shared { registers, left: saved::Left::default(), bell: Event::new()?, sink });
        Ok(Self { config: config.build(), shared })
    }

    /// What its clock's thread has to run, as a member of the group that a VM pause holds; `kick` is what kicks that
    /// member.
    pub fn clock(&self) -> impl FnOnce(Member, Arc<Event>) + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move |mut member, kick| clock::run(&shared, &mut member, &kick)
    }

    fn change(&self, event: Change) {
        if self.shared.registers.write(event) {
            self.shared.bell.notify();
        }
    }

    fn word(&self) -> Word {
        self.shared.registers.word()
    }
}

/// The block's register at an offset, for accesses of this width.
fn register(offset: u64, width: usize) -> Register {
    match (offset, width) {
        (0x0, 4) => Register::First,
        (0x4, 4) => Register::Second,
        (0xC, 2 | 4) => Register::Reload,
        _ => Register::Nothing,
    }
}

/// The byte of an access that falls on a place.
fn byte_at(access: u16, len: usize, place: u16) -> Option<usize> {
    usize::from(place).checked_sub(usize::from(access)).filter(|byte| *byte < len)
}

impl PciFunction for Watchdog {
    fn name(&self) -> &'static str {
        "watchdog"
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn read_config_window(&self, offset: u16, data: &mut [u8]) -> bool {
        let [configuration, lock] =
            [CONFIGURATION, LOCK].map(|place| byte_at(offset, data.len(), place));
        if configuration.is_none() && lock.is_none() {
            return false;
        }
        self.config.read(offset, data);
        let word = self.word();
        for (place, value) in [(configuration, word.configuration()), (lock, word.lock_register())]
        {
            if let Some(byte) = place.and_then(|place| data.get_mut(place)) {
                *byte = value;
            }
        }
        true
    }

    fn config_written(&self, offset: u16, data: &[u8]) -> Written {
        for (place, change) in
            [(CONFIGURATION, Change::Configure as fn(u8) -> Change), (LOCK, Change::Lock)]
        {
            let byte = byte_at(offset, data.len(), place).and_then(|byte| data.get(byte));
            if let Some(value) = byte {
                self.change(change(*value));
            }
        }
        Written::Done
    }

    fn read_bar(&self, _bar: BarIndex, offset: u64, data: &mut [u8]) {
        let value = self.word().read(register(offset, data.len())).to_le_bytes();
        data.fill(0);
        data.iter_mut().zip(value).for_each(|(byte, value)| *byte = value);
    }

    fn write_bar(&self, _bar: BarIndex, offset: u64, data: &[u8]) -> Written {
        let mut value = [0; 4];
        value.iter_mut().zip(data).for_each(|(byte, written)| *byte = *written);
        let register = register(offset, data.len());
        self.change(Change::Write(register, u32::from_le_bytes(value)));
        Written::Done
    }
}

impl CounterSource for Watchdog {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: statistics.
        let registers = &self.shared.registers;
        vec![
            ("enabled", u64::from(self.word().is_counting())),
            ("reloads", registers.reloads.load(Ordering::Relaxed)),
            ("expiries", registers.expiries.load(Ordering::Relaxed)),
        ]
    }
}
