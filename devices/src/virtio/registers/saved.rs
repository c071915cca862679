//! A device's registers as they are saved, and how a device goes on whose workers stayed behind.
//!
//! ```text
//!   Active ──save──▶ Active ──restore──▶ Activating, restored ──the activator, when the VM goes on──▶ Active
//!                                          every queue is looked at, every queue's driver interrupted once ◀─┘
//!   Activating, Resetting ─────────────▶ the same, and the activator is asked for it again
//! ```
//!
//! The vCPU that wrote the status register, and waited for a ticket when its VM stood still, need not wait after the restore: its write
//! is done, and the status reads as it did. A driver that has to know that a reset is done reads it until it is 0
//! (virtio 1.2, 4.1.4.3.2). After DRIVER_OK it need not wait for anything: what it makes available, and the doorbells that it rings,
//! are there when the workers come. (The VMM has such a vCPU wait all the same, for the work that is owed now.)
//!
//! # Interrupts
//!
//! An interrupt may have been under way when the VM stood still: in an eventfd, in the kernel's work queue, between a vector's word and
//! the local APIC. Instead of following each, every queue that has a ring is interrupted once after the restore, whether its driver
//! asks for it or not, and the configuration once. That is enough, because an interrupt says nothing but "look": a driver that has
//! seen everything finds nothing new, and one that was to be told something finds it in its used ring or in the configuration.

use serde::{Deserialize, Serialize};

use super::{Change, QueueRegisters, Registers};
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;
use crate::virtio::device::{Features, Origin};
use crate::virtio::lifecycle::{SavedWord, State, Word, status};
use crate::virtio::queue_registers::SavedQueue;
use crate::virtio::queue_state::QueueState;

/// A device's word, features and queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRegisters {
    /// The device type's number (virtio 1.2, section 5).
    pub device_type: u16,
    /// Feature bits that the driver has accepted.
    pub accepted: u64,
    /// The word.
    pub word: SavedWord,
    /// The queues, by index.
    pub queues: Vec<SavedQueue>,
}

impl Registers {
    /// What they are, while vCPUs and workers stand still.
    #[must_use]
    pub fn save(&self) -> SavedRegisters {
        let mut word = SavedWord::from(self.word());
        if word.state == State::Activating && self.origin() == Origin::Restored {
            // Saved again before its workers have come back.
            word.state = State::Active;
        }
        SavedRegisters {
            device_type: self.parts.device.device_type() as u16,
            accepted: self.accepted().0,
            word,
            queues: self.queues.iter().map(QueueRegisters::save).collect(),
        }
    }

    /// Whether they could be these.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedRegisters) -> Result<(), Unfit> {
        if self.word() != Word::NEW {
            return Err(Unfit::InUse);
        }
        let device_type = self.parts.device.device_type() as u16;
        Unfit::unless_same("the device type", &saved.device_type, &device_type)?;
        Unfit::unless_same("the number of queues", &saved.queues.len(), &self.queues.len())?;
        let Some(word) = saved.word.word() else {
            return Err(Unfit::impossible("the device's word", saved.word));
        };
        // Before that the driver may have written anything, and is refused when it wants to go on.
        if word.has(status::FEATURES_OK) {
            let unknown = saved.accepted & !self.offered;
            if unknown != 0 {
                return Err(Unfit::Features(unknown));
            }
            if !Features(saved.accepted).has(Features::VERSION_1) {
                return Err(Unfit::impossible("a driver's features", saved.accepted));
            }
        }
        for ((index, queue), saved) in (0..).zip(&self.queues).zip(&saved.queues) {
            let checked = queue.check(saved, &self.parts.memory, word.state());
            checked.map_err(|error| error.of_queue(index))?;
        }
        Ok(())
    }

    /// Makes them these, of a device that was just made, while the VM is held. What is owed, and the workers of a device that was
    /// active, the activator sees to when the VM goes on.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore(&self, saved: &SavedRegisters) -> Result<(), Unfit> {
        self.check(saved)?;
        let Some(word) = saved.word.word() else { return Ok(()) };
        for (half, register) in (0..).zip(&self.accepted) {
            let [a, b, c, d, ..] = (saved.accepted >> (32 * half)).to_le_bytes();
            // Relaxed: published by the word.
            register.store(u32::from_le_bytes([a, b, c, d]), Ordering::Relaxed);
        }
        for (queue, saved) in self.queues.iter().zip(&saved.queues) {
            queue.restore(saved, word.state());
        }
        let was_active = word.state() == State::Active;
        // Relaxed: published by the word.
        self.restored.store(was_active, Ordering::Relaxed);
        let word = if was_active { word.with_state(State::Activating) } else { word };
        // Release: pairs with the acquire in `word`.
        self.word.store(word.bits(), Ordering::Release);
        if word.is_owed() {
            // Nobody has to wait for the ticket: see the module.
            drop(self.work.request());
        }
        if word.state() == State::Failed {
            // What the driver was told, perhaps just then.
            self.parts.interrupt.config();
        }
        Ok(())
    }

    /// Whom the workers are for that the activator makes.
    pub(in crate::virtio) fn origin(&self) -> Origin {
        // Relaxed: published by the word.
        if self.restored.load(Ordering::Relaxed) { Origin::Restored } else { Origin::Driver }
    }

    /// What was restored is gone, or has been seen to.
    pub(in crate::virtio) fn forget_restore(&self) {
        // Relaxed: from the restore on it is the activator's alone.
        self.restored.store(false, Ordering::Relaxed);
    }

    /// The workers are there, unless a reset has overtaken them. Interrupts a driver that was there before them: see the module.
    pub(in crate::virtio) fn activated(&self, change: Change) {
        let restored = self.origin() == Origin::Restored;
        if !restored || change.new.state() == State::Resetting {
            return;
        }
        self.forget_restore();
        let interrupt = &self.parts.interrupt;
        for (index, queue) in (0..).zip(&self.queues) {
            if queue.state() == QueueState::Taken {
                interrupt.queue(index);
            }
        }
        interrupt.config();
    }
}
