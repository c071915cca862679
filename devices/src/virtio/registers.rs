//! A device's registers, as far as no transport matters: its word, features and queues.
//!
//! ```text
//!   vCPU ──▶ transport ──▶ Registers ──write_status──▶ the word ──is owed?──▶ WorkItem::request ─▶ Ticket
//!                              ▲                                                  │
//!                              └────── looks at them, in rounds ── activator ◀────┘
//! ```
//!
//! Invariants: no method that a vCPU calls blocks; queues and features change only while the device is
//! Inactive; whoever left the word owing something, or found it owing, gets a ticket.

mod saved;

use std::io;
use std::sync::Arc;

use vcpu_state::{Ticket, WorkItem};

pub use saved::SavedRegisters;

use super::activator::Activator;
use super::counts::Counts;
use super::device::{Features, VirtioDevice};
use super::interrupt::VirtioInterrupt;
use super::lifecycle::{Cause, Event, Illegal, Negotiation, State, Word, transition};
use super::queue_registers::QueueRegisters;
use super::queue_state::QueueState;
use crate::bus::Written;
use crate::memory::GuestMemory;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What a device's registers are made of.
pub struct RegisterParts {
    /// The device type's own part.
    pub device: Arc<dyn VirtioDevice>,
    /// Guest RAM.
    pub memory: GuestMemory,
    /// Where its interrupts go.
    pub interrupt: Arc<dyn VirtioInterrupt>,
}

/// One virtio device's registers.
pub struct Registers {
    parts: RegisterParts,
    word: AtomicU64,
    offered: u64,
    /// The low and the high half of what the driver accepts.
    accepted: [AtomicU32; 2],
    queues: Box<[QueueRegisters]>,
    /// The next workers are for a driver that was there before them: the device was active when it was saved.
    restored: AtomicBool,
    work: WorkItem,
    counts: Counts,
}

/// What every device offers besides the bits of its type.
const COMMON: u64 =
    Features::VERSION_1 | Features::INDIRECT_DESC | Features::EVENT_IDX | Features::RING_RESET;

impl Registers {
    /// Registers that `activator` serves from now on, until they are [removed](Self::remove).
    ///
    /// # Errors
    /// The host has no file descriptor left for the doorbells.
    pub fn new(parts: RegisterParts, activator: &Activator) -> io::Result<Arc<Self>> {
        let queues = parts.device.queue_sizes().iter().map(|max| QueueRegisters::new(*max));
        let (work, attendant) = activator.work_item();
        let registers = Arc::new(Self {
            word: AtomicU64::new(Word::NEW.bits()),
            offered: parts.device.features() | COMMON,
            accepted: [AtomicU32::new(0), AtomicU32::new(0)],
            queues: queues.collect::<io::Result<_>>()?,
            restored: AtomicBool::new(false),
            work,
            counts: Counts::default(),
            parts,
        });
        activator.serve(&registers, attendant);
        Ok(registers)
    }

    /// The device type's own part.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn VirtioDevice> {
        &self.parts.device
    }

    /// Guest RAM.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.parts.memory
    }

    /// Where its interrupts go.
    #[must_use]
    pub fn interrupt(&self) -> &Arc<dyn VirtioInterrupt> {
        &self.parts.interrupt
    }

    /// Its word now.
    #[must_use]
    pub fn word(&self) -> Word {
        // An acquiring load: pairs with the release half of `apply`.
        Word::from_bits(crate::sync::read(&self.word))
    }

    /// A vCPU writes the status register.
    pub fn write_status(&self, value: u8) -> Written {
        let features = self.negotiation();
        // A write of the status register is legal in every word.
        let _ = self.apply(Event::WriteStatus { value, features });
        // Looked at after the write, so that a write that finds the word owing waits as well, for the same
        // work. What has been done in between is no longer owed.
        if self.word().is_owed() { Written::Wait(self.work.request()) } else { Written::Done }
    }

    /// Asks for what is owed to be done: for who waits for it without having asked.
    #[must_use = "the ticket says when it is done"]
    pub fn work(&self) -> Ticket {
        self.work.request()
    }

    /// Takes the device away from its driver for good: a last reset, after which it is never activated. The
    /// ticket is done when the workers are gone; wait for it with [`vcpu_state::Group::wait_ticket`].
    #[must_use = "the workers are gone when the ticket is done"]
    pub fn remove(&self) -> Ticket {
        // Legal in every word.
        let _ = self.apply(Event::Remove);
        self.work.request()
    }

    /// The feature bits that are offered.
    #[must_use]
    pub fn offered(&self) -> Features {
        Features(self.offered)
    }

    /// The feature bits that the driver has accepted so far.
    #[must_use]
    pub fn accepted(&self) -> Features {
        // Relaxed: what an activation works with was ordered by the word.
        let [low, high] = [0, 1].map(|half| u64::from(self.accepted[half].load(Ordering::Relaxed)));
        Features(low | high << 32)
    }

    /// The driver writes one half of its feature bits (virtio 1.2, 4.1.4.3): 0 is the low one; there are no others.
    pub fn accept(&self, half: u32, bits: u32) {
        let agreed = self.word().has(super::lifecycle::status::FEATURES_OK);
        if agreed || !self.word().is_negotiable() {
            return;
        }
        if let Some(accepted) = self.accepted.get(half as usize) {
            // Relaxed: see `accepted`.
            accepted.store(bits, Ordering::Relaxed);
        }
    }

    /// The registers of its queues.
    #[must_use]
    pub fn queues(&self) -> &[QueueRegisters] {
        &self.queues
    }

    /// The driver asks for the reset of one queue, which it may where that was negotiated; whether it may.
    pub fn reset_queue(&self, index: usize) -> bool {
        let word = self.word();
        let agreed = word.has(super::lifecycle::status::FEATURES_OK)
            && self.accepted().has(Features::RING_RESET)
            && !word.is_removed();
        match self.queues.get(index).filter(|_| agreed) {
            Some(queue) => {
                queue.reset();
                true
            }
            None => false,
        }
    }

    /// Whether the driver may set a queue up now: before DRIVER_OK, and after a reset of the queue. (While the device is Activating
    /// a queue is Empty only after a restore, when its driver has long been at work.)
    #[must_use]
    pub fn is_configurable(&self, queue: &QueueRegisters) -> bool {
        let word = self.word();
        match word.state() {
            State::Inactive => word.is_negotiable(),
            State::Active | State::Activating => queue.state() == QueueState::Empty,
            State::Failed | State::Resetting => false,
        }
    }

    /// What has happened to it.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A worker of this activation cannot go on.
    pub(super) fn worker_died(&self, generation: u32, cause: Cause) {
        self.counts.worker_deaths.one();
        if cause == Cause::Malformed {
            self.counts.malformed.one();
        }
        self.fail(Event::WorkerDied { generation, cause });
    }

    /// Carries an event out that breaks the device, and tells the driver if it did (virtio 1.2, 2.1.2).
    pub(super) fn fail(&self, event: Event) {
        if let Ok(Change { old, new }) = self.apply(event)
            && old.cause().is_none()
            && new.cause().is_some()
        {
            self.counts.failures.one();
            self.parts.interrupt.config();
        }
    }

    /// Whether what the driver has accepted would do (virtio 1.2, 2.2.2 and 6.2).
    pub(super) fn negotiation(&self) -> Negotiation {
        let accepted = self.accepted();
        let offered = accepted.0 & !self.offered == 0;
        if offered && accepted.has(Features::VERSION_1) {
            Negotiation::Acceptable
        } else {
            Negotiation::Unacceptable
        }
    }

    /// No worker is left: makes the registers as new.
    pub(super) fn clear(&self) {
        self.forget_restore();
        for half in &self.accepted {
            // Relaxed: published by the word.
            half.store(0, Ordering::Relaxed);
        }
        self.queues.iter().for_each(QueueRegisters::clear);
        self.parts.interrupt.reset();
        // The last: from now on the status reads 0, and the driver may begin. Only the activator gets here, in a reset.
        let done = self.apply(Event::ResetDone);
        debug_assert!(done.is_ok(), "the end of a reset that nobody asked for");
        self.counts.resets.one();
    }

    /// One event, by compare-and-swap. Lock-free: a failed swap means that another one succeeded.
    pub(super) fn apply(&self, event: Event) -> Result<Change, Illegal> {
        let mut old = self.word();
        loop {
            let new = transition(old, event)?;
            // AcqRel: releases the registers that were written before to whoever reads the new word, and
            // acquires what led to the old one. Acquire on failure, as in `word`.
            let swapped = self.word.compare_exchange(
                old.bits(),
                new.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return Ok(Change { old, new }),
                Err(now) => old = Word::from_bits(now),
            }
        }
    }

    /// Whether there is nothing left to be done for it, ever.
    pub(super) fn is_gone(&self) -> bool {
        let word = self.word();
        word.is_removed() && word.state() == State::Inactive
    }
}

/// A word before and after an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) old: Word,
    pub(super) new: Word,
}
