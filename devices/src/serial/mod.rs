//! A 16550A UART without locks.
//!
//! ```text
//!  vCPU ──read/write──▶ transition(word, event) ──CAS──▶ word        (registers.rs)
//!                              │ effects, once the CAS has succeeded
//!          ┌───────────────────┼──────────────────┬───────────────────┐
//!          ▼                   ▼                  ▼                   ▼
//!   ConsoleOutput::send  Interrupt::raise   pop from queue   ConsoleOutput::input_has_room
//!
//!  host input thread ──offer──▶ push to queue ──▶ transition(word, Received) ──CAS──▶ word
//! ```
//!
//! Invariants:
//! - All registers change by compare-and-swap of one word, through a pure function. Whoever
//!   made the change carries out its effects, exactly once.
//! - A byte is in the queue before the word counts it, and it is the one whose CAS counts it
//!   down that takes it out. So whoever may take a byte finds one.
//! - Input that found no room leaves a mark in the word by the same CAS that saw it full; the
//!   access that makes room takes the mark away and tells the host. No wake-up is lost.
//! - Nothing here waits: output goes to a sink that never blocks.
//!
//! Sources: National Semiconductor PC16550D data sheet (June 1995), sections 8.1 to 8.7. Differing from
//! it: transmission takes no time; the character time-out takes no time; parity, framing and
//! break conditions do not exist; loopback holds one byte; OUT2 does not gate the interrupt (on a
//! PC it does; guests that forget it work on other VMMs, and none relies on the gate).
mod registers;
mod saved;
#[cfg(test)]
mod tests;
mod transition;

use std::sync::Arc;

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::bus::{AddressRange, ByteRegisters, Pio};
use crate::console::{ConsoleInput, ConsoleOutput};
use crate::counters::CounterSource;
use crate::interrupt::Interrupt;
use crate::sync::atomic::{AtomicU64, Ordering};
use registers::{RX_DEPTH, Registers};
pub use saved::SavedSerial;
use transition::{Effects, Event, Reply, transition};

/// The serial port.
pub struct Serial {
    word: AtomicU64,
    /// Bytes from the host, of which the word counts those the guest may see.
    received: ArrayQueue<u8>,
    /// What has been saved or restored of them; it goes first.
    kept: SegQueue<u8>,
    interrupt: Box<dyn Interrupt>,
    output: Arc<dyn ConsoleOutput>,
    sent: AtomicU64,
    taken: AtomicU64,
    discarded: AtomicU64,
    interrupts: AtomicU64,
}

impl Serial {
    /// Where the first port (COM1) answers.
    pub const COM1: AddressRange<Pio> = AddressRange::constant(0x3F8, 8);
    /// The interrupt line of the first port.
    pub const COM1_IRQ: u32 = 4;
    /// Where the second port (COM2) answers.
    pub const COM2: AddressRange<Pio> = AddressRange::constant(0x2F8, 8);
    /// The interrupt line of the second port.
    pub const COM2_IRQ: u32 = 3;

    /// A port after reset.
    pub fn new(interrupt: Box<dyn Interrupt>, output: Arc<dyn ConsoleOutput>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            word: AtomicU64::new(Registers::RESET.0),
            // Twice the depth: bytes that vCPUs have counted down but not taken out yet must not
            // be in the way of new ones.
            received: ArrayQueue::new(2 * usize::from(RX_DEPTH)),
            kept: SegQueue::new(),
            interrupt,
            output,
            sent: zero(),
            taken: zero(),
            discarded: zero(),
            interrupts: zero(),
        }
    }

    /// Puts an event into effect and returns the answer.
    fn apply(&self, event: Event) -> Reply {
        // Acquire pairs with the release below: the queue's entries that the word counts are
        // seen by whoever sees the count.
        let mut now = self.word.load(Ordering::Acquire);
        let effects = loop {
            let step = transition(Registers(now), event);
            if step.next.0 == now {
                break step.effects;
            }
            // Release pairs with the acquire of the next change, on this thread or another.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.word.compare_exchange_weak(now, step.next.0, success, failure) {
                Ok(_) => break step.effects,
                Err(seen) => now = seen,
            }
        };
        self.carry_out(effects);
        effects.reply
    }

    /// The first byte from the host; whoever has counted one down finds one.
    fn take_received(&self) -> Option<u8> {
        self.kept.pop().or_else(|| self.received.pop())
    }

    // Relaxed: statistics.
    fn carry_out(&self, effects: Effects) {
        if let Some(byte) = effects.send {
            self.output.send(byte);
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        for _ in 0..effects.discard {
            self.take_received();
            self.discarded.fetch_add(1, Ordering::Relaxed);
        }
        if effects.raise {
            self.interrupts.fetch_add(1, Ordering::Relaxed);
            self.interrupt.raise();
        }
        if effects.wake_input {
            self.output.input_has_room();
        }
    }
}

impl ConsoleInput for Serial {
    fn offer(&self, bytes: &[u8]) -> usize {
        for (accepted, byte) in bytes.iter().enumerate() {
            // Room cannot vanish between this and `Received`, but for a switch of the FIFOs'
            // mode by the guest, which empties them first.
            loop {
                let now = Registers(self.word.load(Ordering::Acquire));
                if now.room() {
                    break;
                }
                if self.apply(Event::Full) != Reply::Room {
                    return accepted;
                }
            }
            // Full only while more vCPUs than the queue has spare entries are between counting
            // a byte down and taking it out, which is a few instructions.
            while self.received.push(*byte).is_err() {
                std::thread::yield_now();
            }
            self.apply(Event::Received);
        }
        bytes.len()
    }
}

impl ByteRegisters for Serial {
    const NAME: &'static str = "serial";

    fn read_register(&self, offset: u64) -> u8 {
        match self.apply(Event::Read(register(offset))) {
            Reply::Value(value) => value,
            Reply::FirstReceived => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                self.take_received().unwrap_or_default()
            }
            // Never the answer to a read.
            Reply::Room => 0,
        }
    }

    fn write_register(&self, offset: u64, value: u8) {
        self.apply(Event::Write(register(offset), value));
    }
}

/// Three address lines reach the chip.
const fn register(offset: u64) -> u8 {
    offset.to_le_bytes()[0] & 7
}

impl CounterSource for Serial {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("bytes_sent", self.sent.load(Ordering::Relaxed)),
            ("bytes_received", self.taken.load(Ordering::Relaxed)),
            ("bytes_discarded", self.discarded.load(Ordering::Relaxed)),
            ("interrupts", self.interrupts.load(Ordering::Relaxed)),
        ]
    }
}
