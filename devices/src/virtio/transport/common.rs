//! The common configuration structure (virtio 1.2, 4.1.4.3): a field's offset, what it reads, and what a write does.
//!
//! Reads of any size and place are put together of the fields that they cover. Writes count where they are as wide as a field
//! (halves of 64-bit fields are fields), as the driver has to write them (4.1.3.1); a write of 8 bytes is one of both halves;
//! others go nowhere.

use super::VirtioPci;
use super::interrupts::NO_VECTOR;
use crate::bus::Written;
use crate::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use crate::virtio::queue_registers::{Area, Half, QueueRegisters};

const DEVICE_FEATURE_SELECT: u64 = 0x00;
const DEVICE_FEATURE: u64 = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const CONFIG_VECTOR: u64 = 0x10;
const NUM_QUEUES: u64 = 0x12;
const STATUS: u64 = 0x14;
const CONFIG_GENERATION: u64 = 0x15;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_NOTIFY_OFF: u64 = 0x1e;
const QUEUE_DESCRIPTORS: u64 = 0x20;
const QUEUE_DRIVER: u64 = 0x28;
const QUEUE_DEVICE: u64 = 0x30;
/// Belongs to a feature that is not offered, and reads as 0.
const QUEUE_NOTIFY_DATA: u64 = 0x38;
const QUEUE_RESET: u64 = 0x3a;
/// Behind the last field.
const END: u64 = 0x3c;

/// What is selected. Relaxed: they order nothing; vCPUs that share them have to agree.
pub(super) struct Selectors {
    pub(super) device_feature: AtomicU32,
    pub(super) driver_feature: AtomicU32,
    pub(super) queue: AtomicU16,
}

impl Default for Selectors {
    fn default() -> Self {
        let device_feature = AtomicU32::new(0);
        Self { device_feature, driver_feature: AtomicU32::new(0), queue: AtomicU16::new(0) }
    }
}

/// The field that covers a byte: where it begins, and how many bytes it has.
const fn field(offset: u64) -> (u64, usize) {
    match offset {
        STATUS | CONFIG_GENERATION => (offset, 1),
        CONFIG_VECTOR..QUEUE_DESCRIPTORS | QUEUE_NOTIFY_DATA.. => (offset & !1, 2),
        _ => (offset & !3, 4),
    }
}

/// The half of an address that is at this field.
const fn address(field: u64) -> Option<(Area, Half)> {
    let half = if field & 4 == 0 { Half::Low } else { Half::High };
    match field & !4 {
        QUEUE_DESCRIPTORS => Some((Area::Descriptors, half)),
        QUEUE_DRIVER => Some((Area::Driver, half)),
        QUEUE_DEVICE => Some((Area::Device, half)),
        _ => None,
    }
}

impl VirtioPci {
    /// A read; `data` is zeros.
    pub(super) fn read_common(&self, offset: u64, data: &mut [u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() && at < END {
            let (first, width) = field(at);
            let value = self.read_field(first).to_le_bytes();
            let within = usize::try_from(at - first).unwrap_or_default();
            let len = rest.len().min(width - within);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&value[within..within + len]);
            at += len as u64;
            rest = later;
        }
    }

    pub(super) fn write_common(&self, offset: u64, data: &[u8]) -> Written {
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        if offset >= END {
            return Written::Done;
        }
        if data.len() == 8 && address(offset).is_some_and(|(_, half)| half == Half::Low) {
            let (low, high) = data.split_at(4);
            let _ = self.write_field(offset, number(low));
            return self.write_field(offset + 4, number(high));
        }
        if field(offset) == (offset, data.len()) {
            return self.write_field(offset, number(data));
        }
        Written::Done
    }

    fn selected(&self) -> usize {
        self.selectors.queue.load(Ordering::Relaxed).into()
    }

    fn read_field(&self, field: u64) -> u32 {
        let registers = &self.registers;
        let of_queue = |read: fn(&QueueRegisters) -> u16| {
            registers.queues().get(self.selected()).map_or(0, |queue| read(queue).into())
        };
        match field {
            DEVICE_FEATURE_SELECT => self.selectors.device_feature.load(Ordering::Relaxed),
            DEVICE_FEATURE => {
                half(registers.offered().0, self.selectors.device_feature.load(Ordering::Relaxed))
            }
            DRIVER_FEATURE_SELECT => self.selectors.driver_feature.load(Ordering::Relaxed),
            DRIVER_FEATURE => {
                half(registers.accepted().0, self.selectors.driver_feature.load(Ordering::Relaxed))
            }
            CONFIG_VECTOR => self.interrupts.config_vector().into(),
            NUM_QUEUES => u16::try_from(registers.queues().len()).unwrap_or(NO_VECTOR).into(),
            STATUS => registers.word().status().into(),
            CONFIG_GENERATION => self.interrupts.generation().read(&**registers.device()).into(),
            QUEUE_SELECT => self.selectors.queue.load(Ordering::Relaxed).into(),
            QUEUE_SIZE => of_queue(QueueRegisters::size),
            QUEUE_VECTOR => self.interrupts.queue_vector(self.selected()).into(),
            QUEUE_ENABLE => of_queue(|queue| queue.is_enabled().into()),
            QUEUE_RESET => of_queue(|queue| queue.state().is_resetting().into()),
            QUEUE_NOTIFY_OFF => {
                let there = registers.queues().get(self.selected()).is_some();
                if there { self.selectors.queue.load(Ordering::Relaxed).into() } else { 0 }
            }
            _ => address(field)
                .zip(registers.queues().get(self.selected()))
                .map_or(0, |((area, half), queue)| queue.address_half(area, half)),
        }
    }

    fn write_field(&self, field: u64, value: u32) -> Written {
        let registers = &self.registers;
        // As wide as the field, so nothing is lost.
        let [low, high, ..] = value.to_le_bytes();
        let short = u16::from_le_bytes([low, high]);
        match field {
            DEVICE_FEATURE_SELECT => {
                self.selectors.device_feature.store(value, Ordering::Relaxed);
            }
            DRIVER_FEATURE_SELECT => {
                self.selectors.driver_feature.store(value, Ordering::Relaxed);
            }
            DRIVER_FEATURE => {
                registers.accept(self.selectors.driver_feature.load(Ordering::Relaxed), value);
            }
            CONFIG_VECTOR => self.interrupts.set_config_vector(short),
            STATUS => return registers.write_status(low),
            QUEUE_SELECT => self.selectors.queue.store(short, Ordering::Relaxed),
            QUEUE_VECTOR => self.interrupts.set_queue_vector(self.selected(), short),
            QUEUE_RESET if short == 1 && registers.reset_queue(self.selected()) => {
                // As new (virtio 1.2, 2.6.1.1), and at once: what its worker still gives back is not announced.
                self.interrupts.set_queue_vector(self.selected(), NO_VECTOR);
            }
            QUEUE_SIZE | QUEUE_ENABLE | QUEUE_DESCRIPTORS..QUEUE_NOTIFY_DATA => {
                self.write_queue(field, value, short);
            }
            _ => {}
        }
        Written::Done
    }

    fn write_queue(&self, field: u64, value: u32, short: u16) {
        let queue = self.registers.queues().get(self.selected());
        let Some(queue) = queue.filter(|queue| self.registers.is_configurable(queue)) else {
            return;
        };
        match field {
            QUEUE_SIZE => queue.set_size(short),
            // Only a reset disables it.
            QUEUE_ENABLE if short == 1 => queue.enable(),
            _ => {
                if let Some((area, half)) = address(field) {
                    queue.set_address_half(area, half, value);
                }
            }
        }
    }
}

/// The 32 bits that a feature selector selects; beyond 64 there are none.
fn half(features: u64, selector: u32) -> u32 {
    let shifted = features.checked_shr(selector.saturating_mul(32)).unwrap_or(0);
    let [a, b, c, d, ..] = shifted.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
