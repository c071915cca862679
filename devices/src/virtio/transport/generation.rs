//! The configuration's generation: a driver that reads it before and after reading the device's configuration, and
//! finds it the same, has not read half of one configuration and half of another (virtio 1.2, 2.5.1).
//!
//! A device changes its configuration and then says so. Between the two a driver could read old, new, and an old
//! generation. So whoever reads the generation looks at the configuration, too: one that differs from the one that was
//! seen last has a new generation. A device that changes it and changes it back has said so in between.

use std::hash::{DefaultHasher, Hasher};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::virtio::device::VirtioDevice;

/// The generation in bits 0 to 7, and above it what the configuration was like.
pub(super) struct Generation(AtomicU64);

const NUMBER: u64 = 0xff;
/// Bytes of the configuration that are looked at: more than any device type has.
const LOOKED_AT: usize = 256;

impl Generation {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The number, for saving.
    pub(super) fn number(&self) -> u8 {
        let [number, ..] = self.0.load(Ordering::Acquire).to_le_bytes();
        number
    }

    /// The number that the driver has seen last, of a configuration that may be another by now.
    pub(super) fn restore(&self, number: u8) {
        self.0.store(next(number.into(), 0), Ordering::Release);
    }

    /// The device says that its configuration has changed.
    pub(super) fn advance(&self) {
        self.change(|old| Some(next(old, old)));
    }

    /// What the register reads.
    pub(super) fn read(&self, device: &dyn VirtioDevice) -> u8 {
        let mut bytes = [0; LOOKED_AT];
        device.read_config(0, &mut bytes);
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        let now = hasher.finish();
        let same = |old: u64| old & !NUMBER == now & !NUMBER;
        let old = self.change(|old| (!same(old)).then(|| next(old, now)));
        let number = if same(old) { old } else { next(old, now) } & NUMBER;
        u8::try_from(number).unwrap_or_default()
    }

    /// Changes the word, if there is something to change, and says what it was.
    fn change(&self, to: impl Fn(u64) -> Option<u64>) -> u64 {
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        // AcqRel: the generation is ordered with what is read of the configuration around it.
        self.0.fetch_update(set, fetch, to).unwrap_or_else(|old| old)
    }
}

/// The next number, with this likeness.
const fn next(old: u64, likeness: u64) -> u64 {
    likeness & !NUMBER | old.wrapping_add(1) & NUMBER
}
