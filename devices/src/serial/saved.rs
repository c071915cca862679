//! A serial port as it is saved.
//!
//! The host's console goes on meanwhile: a byte that it offers in the middle of a save is the guest's afterwards, and not in what was
//! saved; one that it has offered to a port that is being restored comes after those that were saved, if the FIFO has room for it.

use serde::{Deserialize, Serialize};

use super::Serial;
use super::registers::{
    DELTA, DLL, DLM, FIFO, IER, LCR, LOOP, LOOPED, MCR, OVERRUN, RX, RX_DEPTH, Registers, SCR,
    THRE, TRIGGER, WAITS,
};
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;

/// The registers (PC16550D data sheet, section 8), and the bytes in the receive FIFO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSerial {
    /// Interrupt enable register.
    pub ier: u8,
    /// Line control register.
    pub lcr: u8,
    /// Modem control register.
    pub mcr: u8,
    /// FIFO control register: bit 0, FIFOs on, and bits 6 and 7, the trigger level.
    pub fcr: u8,
    /// Scratch register.
    pub scratch: u8,
    /// Divisor latch.
    pub divisor: u16,
    /// Whether the "THR empty" interrupt is pending.
    pub transmitter_empty: bool,
    /// Line status register: overrun.
    pub overrun: bool,
    /// Modem status register, bits 0 to 3.
    pub modem_changes: u8,
    /// A byte that the guest has sent to itself.
    pub looped: Option<u8>,
    /// Bytes from the host in the FIFO, the first one first.
    pub received: Vec<u8>,
}

impl Serial {
    /// What it is, while no vCPU touches it.
    #[must_use]
    pub fn save(&self) -> SavedSerial {
        // Acquire: pairs with the release of `apply`; the bytes that the word counts are there.
        let now = Registers(self.word.load(Ordering::Acquire));
        let counted = usize::from(now.get(RX));
        // Nobody else takes bytes out now, so they keep their order.
        let bytes = std::iter::from_fn(|| self.take_received()).take(counted);
        let received: Vec<u8> = bytes.collect();
        let behind: Vec<u8> = std::iter::from_fn(|| self.kept.pop()).collect();
        received.iter().chain(&behind).for_each(|byte| self.kept.push(*byte));
        SavedSerial {
            ier: now.get(IER),
            lcr: now.get(LCR),
            mcr: now.get(MCR),
            fcr: now.get(FIFO) | now.get(TRIGGER) << 6,
            scratch: now.get(SCR),
            divisor: u16::from_le_bytes([now.get(DLL), now.get(DLM)]),
            transmitter_empty: now.has(THRE),
            overrun: now.has(OVERRUN),
            modem_changes: now.get(DELTA),
            looped: now.has(LOOP).then(|| now.get(LOOPED)),
            received,
        }
    }

    /// Whether it could be this.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedSerial) -> Result<(), Unfit> {
        Unfit::unless_within("the interrupt enable register", saved.ier, 0x0F)?;
        Unfit::unless_within("the modem control register", saved.mcr, 0x1F)?;
        Unfit::unless_within("the FIFO control register", saved.fcr, 0xC1)?;
        Unfit::unless_within("the modem status register", saved.modem_changes, 0x0F)?;
        if saved.received.len() > RX_DEPTH.into() {
            return Err(Unfit::impossible("the bytes in the FIFO", saved.received.len()));
        }
        Ok(())
    }

    /// Makes it this, while no vCPU touches it.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore(&self, saved: &SavedSerial) -> Result<(), Unfit> {
        self.check(saved)?;
        let registers = saved.registers();
        let held = registers.get(RX);
        // Bytes first, then the word that counts them.
        saved.received.iter().for_each(|byte| self.kept.push(*byte));
        let mut now = self.word.load(Ordering::Acquire);
        let (before, next) = loop {
            // What the host's console has offered in the meantime comes after them.
            let all = (held + Registers(now).get(RX)).min(RX_DEPTH);
            let next = registers.with(RX, all);
            // As in `apply`.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.word.compare_exchange_weak(now, next.0, success, failure) {
                Ok(_) => break (Registers(now), next),
                Err(seen) => now = seen,
            }
        };
        for _ in next.get(RX)..held + before.get(RX) {
            self.received.pop();
        }
        if before.has(WAITS) {
            self.output.input_has_room();
        }
        if next.pending() != 0 {
            // Its edge may have been under way; one that is not needed names no cause.
            self.interrupt.raise();
        }
        Ok(())
    }
}

impl SavedSerial {
    fn registers(&self) -> Registers {
        let [low, high] = self.divisor.to_le_bytes();
        // At most the depth of the FIFO: it was checked.
        let held = u8::try_from(self.received.len()).unwrap_or(RX_DEPTH);
        Registers(0)
            .with(IER, self.ier)
            .with(LCR, self.lcr)
            .with(MCR, self.mcr)
            .with(FIFO, self.fcr & 1)
            .with(TRIGGER, self.fcr >> 6)
            .with(SCR, self.scratch)
            .with(DLL, low)
            .with(DLM, high)
            .with(THRE, self.transmitter_empty.into())
            .with(OVERRUN, self.overrun.into())
            .with(DELTA, self.modem_changes)
            .with(LOOP, self.looped.is_some().into())
            .with(LOOPED, self.looped.unwrap_or_default())
            .with(RX, held)
    }
}
