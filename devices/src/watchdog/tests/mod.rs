//! The word against a model, the count against made-up times, the function as Linux drives it, the thread with pauses.

mod clock;
mod count;
mod model;
mod registers;
mod saved;

use std::sync::Arc;

use super::{Past, Watchdog, WatchdogSink};
use crate::bus::Written;
use crate::pci::{BarIndex, PciFunction};
use crate::sync::atomic::{AtomicU32, Ordering};

/// Counts what it is told.
#[derive(Default)]
pub(super) struct Told(AtomicU32);

impl Told {
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl WatchdogSink for Told {
    fn expired(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) fn watchdog(past: Past) -> (Watchdog, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Watchdog::new(past, Arc::<Told>::clone(&told)).unwrap(), told)
}

fn write(watchdog: &Watchdog, offset: u64, data: &[u8]) {
    assert!(matches!(watchdog.write_bar(BarIndex(0), offset, data), Written::Done));
}

/// As Linux's `esb_unlock_registers`.
fn unlock(watchdog: &Watchdog) {
    write(watchdog, 0xC, &0x80_u16.to_le_bytes());
    write(watchdog, 0xC, &0x86_u16.to_le_bytes());
}

pub(super) fn reload(watchdog: &Watchdog) {
    unlock(watchdog);
    write(watchdog, 0xC, &0x100_u16.to_le_bytes());
}

pub(super) fn set_preload(watchdog: &Watchdog, value: u32) {
    for offset in [0, 4] {
        unlock(watchdog);
        write(watchdog, offset, &value.to_le_bytes());
    }
}

pub(super) fn set_config(watchdog: &Watchdog, offset: u16, value: u8) {
    watchdog.config().write(offset, &[value]);
    assert!(matches!(watchdog.config_written(offset, &[value]), Written::Done));
}

fn read(watchdog: &Watchdog, offset: u64) -> u32 {
    let mut data = [0xAA; 4];
    watchdog.read_bar(BarIndex(0), offset, &mut data);
    u32::from_le_bytes(data)
}

fn config(watchdog: &Watchdog, offset: u16) -> u8 {
    let mut data = [0xAA];
    assert!(watchdog.read_config_window(offset, &mut data));
    data[0]
}
