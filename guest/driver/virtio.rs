//! A virtio device through its PCI transport (virtio 1.2, 4.1): set-up, and one split queue.

use core::sync::atomic::{Ordering, fence};

use crate::arena::Arena;
use crate::io::Address;
use crate::pci::Function;
use crate::registers::{Registers, Way};
use crate::shared::{OUTCOME_FEATURES, OUTCOME_NEEDS_RESET, OUTCOME_REGISTER};

const COMMON: u8 = 1;
const NOTIFY: u8 = 2;

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;

// Offsets in the common configuration.
const DEVICE_FEATURE_SELECT: u64 = 0;
const DEVICE_FEATURE: u64 = 4;
const DRIVER_FEATURE_SELECT: u64 = 8;
const DRIVER_FEATURE: u64 = 12;
const NUM_QUEUES: u64 = 18;
const STATUS: u64 = 20;
const QUEUE_SELECT: u64 = 22;
const QUEUE_SIZE: u64 = 24;
const QUEUE_ENABLE: u64 = 28;
const QUEUE_NOTIFY_OFF: u64 = 30;
const QUEUE_DESC: u64 = 32;
const QUEUE_DRIVER: u64 = 40;
const QUEUE_DEVICE: u64 = 48;

const QUEUE_RESET: u64 = 58;

pub const VERSION_1: u64 = 1 << 32;
pub const RING_RESET: u64 = 1 << 40;

/// A device whose registers are reachable.
pub struct Device {
    registers: Registers,
    common: u64,
    notify: u64,
    notify_multiplier: u64,
}

impl Device {
    pub fn open(function: Function, way: Way) -> Result<Self, u64> {
        function.enable();
        let place = |kind| -> Result<u64, u64> {
            let capability = function.config.at(function.capability(kind)?);
            Ok(u64::from(capability.at(8).read32()))
        };
        let notify = function.config.at(function.capability(NOTIFY)?);
        Ok(Self {
            common: place(COMMON)?,
            notify: place(NOTIFY)?,
            notify_multiplier: u64::from(notify.at(16).read32()),
            registers: Registers::of(function, way)?,
        })
    }

    pub fn status(&self) -> u8 {
        self.registers.read8(self.common + STATUS)
    }

    fn set_status(&self, status: u8) {
        self.registers.write8(self.common + STATUS, status);
    }

    /// Resets it. When the write is done, so is the reset.
    pub fn reset(&self) -> Result<(), u64> {
        self.set_status(0);
        if self.status() == 0 { Ok(()) } else { Err(OUTCOME_REGISTER) }
    }

    /// Negotiates: as much of `wanted` as is offered, at least VERSION_1. Gives what was agreed on.
    pub fn negotiate(&self, wanted: u64) -> Result<u64, u64> {
        self.reset()?;
        self.set_status(ACKNOWLEDGE);
        self.set_status(ACKNOWLEDGE | DRIVER);
        let mut agreed = 0;
        for half in 0..2 {
            self.registers.write32(self.common + DEVICE_FEATURE_SELECT, half);
            let offered = self.registers.read32(self.common + DEVICE_FEATURE);
            let taken = offered & ((wanted | VERSION_1) >> (32 * half)) as u32;
            self.registers.write32(self.common + DRIVER_FEATURE_SELECT, half);
            self.registers.write32(self.common + DRIVER_FEATURE, taken);
            agreed |= u64::from(taken) << (32 * half);
        }
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if agreed & VERSION_1 == 0 || self.status() & FEATURES_OK == 0 {
            return Err(OUTCOME_FEATURES);
        }
        Ok(agreed)
    }

    /// Sets a queue up and enables it.
    pub fn queue(&self, index: u16, most: u16, arena: &mut Arena) -> Queue {
        let registers = &self.registers;
        registers.write16(self.common + QUEUE_SELECT, index);
        let size = registers.read16(self.common + QUEUE_SIZE).min(most);
        registers.write16(self.common + QUEUE_SIZE, size);
        let count = u64::from(size);
        let descriptors = arena.take(16 * count);
        let available = arena.take(6 + 2 * count);
        let used = arena.take(6 + 8 * count);
        for (register, place) in
            [(QUEUE_DESC, descriptors), (QUEUE_DRIVER, available), (QUEUE_DEVICE, used)]
        {
            registers.write32(self.common + register, place.0 as u32);
            registers.write32(self.common + register + 4, (place.0 >> 32) as u32);
        }
        let offset = u64::from(registers.read16(self.common + QUEUE_NOTIFY_OFF));
        let doorbell = registers.address(self.notify + offset * self.notify_multiplier);
        registers.write16(self.common + QUEUE_ENABLE, 1);
        Queue { index, size, descriptors, available, used, doorbell, offered: 0, seen: 0 }
    }

    /// Resets one queue and waits until its device has let go of it (virtio 1.2, 4.1.4.3.2).
    pub fn reset_queue(&self, index: u16) -> Result<(), u64> {
        let registers = &self.registers;
        registers.write16(self.common + QUEUE_SELECT, index);
        registers.write16(self.common + QUEUE_RESET, 1);
        while registers.read16(self.common + QUEUE_RESET) != 0 {
            if self.needs_reset() {
                return Err(OUTCOME_NEEDS_RESET);
            }
        }
        let new = registers.read16(self.common + QUEUE_ENABLE) == 0
            && registers.read32(self.common + QUEUE_DESC) == 0;
        if new { Ok(()) } else { Err(OUTCOME_REGISTER) }
    }

    /// Sets all other queues up, which the device needs and the driver has no use for.
    pub fn queues_besides_first(&self, arena: &mut Arena) {
        for index in 1..self.registers.read16(self.common + NUM_QUEUES) {
            self.queue(index, 16, arena);
        }
    }

    /// Sets every queue up.
    pub fn all_queues(&self, arena: &mut Arena) {
        self.queue(0, 16, arena);
        self.queues_besides_first(arena);
    }

    /// Everything is set up. When the write is done, the device works, or has asked to be reset.
    pub fn driver_ok(&self) -> Result<(), u64> {
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        match self.status() {
            status if status & NEEDS_RESET != 0 => Err(OUTCOME_NEEDS_RESET),
            status if status & DRIVER_OK != 0 => Ok(()),
            _ => Err(OUTCOME_REGISTER),
        }
    }

    pub fn needs_reset(&self) -> bool {
        self.status() & NEEDS_RESET != 0
    }
}

/// A split queue. Descriptors are the caller's to number.
pub struct Queue {
    index: u16,
    pub size: u16,
    descriptors: Address,
    available: Address,
    used: Address,
    doorbell: Address,
    offered: u16,
    seen: u16,
}

/// The next descriptor belongs to the same request.
pub const NEXT: u16 = 1;
/// The device writes the buffer.
pub const WRITE: u16 = 2;

impl Queue {
    pub fn describe(&self, index: u16, buffer: Address, bytes: u32, flags: u16) {
        let descriptor = self.descriptors.at(16 * u64::from(index));
        descriptor.write64(buffer.0);
        descriptor.at(8).write32(bytes);
        descriptor.at(12).write16(flags);
        descriptor.at(14).write16(index + 1);
    }

    /// Makes the request that begins with this descriptor available; the device learns of it by [`Queue::notify`].
    pub fn offer(&mut self, head: u16) {
        self.available.at(4 + 2 * u64::from(self.offered % self.size)).write16(head);
        fence(Ordering::Release);
        self.offered = self.offered.wrapping_add(1);
        self.available.at(2).write16(self.offered);
    }

    /// Rings, unless the device has said that it need not be told.
    pub fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.used.read16() & 1 == 0 {
            self.doorbell.write16(self.index);
        }
    }

    /// The next request that was given back: its head, and bytes written.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        if self.used.at(2).read16() == self.seen {
            return None;
        }
        fence(Ordering::Acquire);
        let element = self.used.at(4 + 8 * u64::from(self.seen % self.size));
        self.seen = self.seen.wrapping_add(1);
        Some((element.read32() as u16, element.at(4).read32()))
    }
}
