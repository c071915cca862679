//! MSI-X: a table of vectors with a message each, pending bits, and the capability that shows them
//! (PCI Local Bus 3.0, 6.8.2).
//!
//! ```text
//!   vCPU ──write table, message control──▶ words ──▶ closed at once; else WorkItem ──▶ Ticket
//!                                                                      │
//!   attendant: reconcile ──▶ MsiLine::route(message) ──▶ open ◀────────┘
//!   worker ──raise──▶ open? MsiLine::raise : pending
//! ```
//!
//! What a vector is, and why no interrupt is lost or doubled, is in `vector.rs`. Masking takes effect at once;
//! what opens a vector takes effect when the attendant has put its route in place, and the vCPU that wrote it waits
//! for that.
//!
//! Invariant: a vector is open only while its line is routed to the message that its registers hold, its mask bit
//! is clear, and the function has MSI-X enabled and not masked.
//!
//! While the function does not interrupt (MSI-X disabled, or the vector without a route), interrupts
//! become pending, as those of a masked vector do.
mod capability;
mod entry;
mod saved;
#[cfg(test)]
mod tests;
mod vector;

use std::io;
use std::sync::Arc;

use vcpu_state::WorkItem;

pub use capability::{MsixControl, MsixPlacement};
pub use saved::{SavedMsix, SavedVector};

use super::platform::PciPlatform;
use crate::bus::Written;
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU64, Ordering};
use entry::Entry;
use vector::{Effect, Event};

/// Bytes of a vector's entry in the table.
pub const ENTRY_LEN: u64 = 16;
/// Vectors that a table has at most.
pub const MAX_VECTORS: u16 = 2048;

/// The vectors of one function.
pub struct Msix {
    entries: Box<[Entry]>,
    work: Arc<WorkItem>,
    raised: AtomicU64,
    pended: AtomicU64,
    routes_failed: AtomicU64,
}

impl Msix {
    /// `vectors` masked vectors (at most [`MAX_VECTORS`]); `work` is the PCI attendant's.
    ///
    /// # Errors
    /// The host has no interrupts left.
    pub fn new(platform: &dyn PciPlatform, vectors: u16, work: &Arc<WorkItem>) -> io::Result<Self> {
        let lines = (0..vectors.min(MAX_VECTORS)).map(|_| platform.new_msi());
        let zero = || AtomicU64::new(0);
        Ok(Self {
            entries: lines.map(|line| line.map(Entry::new)).collect::<io::Result<_>>()?,
            work: Arc::clone(work),
            raised: zero(),
            pended: zero(),
            routes_failed: zero(),
        })
    }

    /// How many vectors there are.
    pub fn vectors(&self) -> u16 {
        // `new` made no more than fit.
        u16::try_from(self.entries.len()).unwrap_or(MAX_VECTORS)
    }

    /// Interrupts the guest, or notes that it is to be interrupted. Never blocks. A vector that is not
    /// there (virtio's "no vector") does nothing.
    pub fn raise(&self, vector: u16) {
        if let Some(entry) = self.entries.get(usize::from(vector)) {
            self.carry_out(entry, entry.apply(Event::Raise));
        }
    }

    /// Forgets what is pending on a vector: its cause is gone.
    pub fn forget(&self, vector: u16) {
        if let Some(entry) = self.entries.get(usize::from(vector)) {
            entry.apply(Event::Forget);
        }
    }

    /// A read in the table. Of other sizes than 4 and 8, or not aligned to its size, it is undefined in the
    /// specification and reads all ones; so do bytes behind the table.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        let Some(registers) = registers(offset, data.len()) else { return };
        for (register, bytes) in registers.zip(data.chunks_exact_mut(4)) {
            if let Some(entry) = self.entry(register) {
                bytes.copy_from_slice(&entry.read(register % 4).to_le_bytes());
            }
        }
    }

    /// A write in the table. Of other sizes than 4 and 8, or not aligned to its size, it is undefined in the
    /// specification and ignored.
    pub fn write_table(&self, offset: u64, data: &[u8]) -> Written {
        let Some(registers) = registers(offset, data.len()) else { return Written::Done };
        let mut asked = false;
        for (register, bytes) in registers.zip(data.chunks_exact(4)) {
            if let Some(entry) = self.entry(register) {
                let mut value = [0; 4];
                value.copy_from_slice(bytes);
                asked |= entry.write(register % 4, u32::from_le_bytes(value)) == Effect::Ask;
            }
        }
        // One round that begins now sees all of the access.
        if asked { Written::Wait(self.work.request()) } else { Written::Done }
    }

    /// A read of the pending bits; sizes as for the table. Writes there do nothing.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        let Some(registers) = registers(offset, data.len()) else { return };
        for (register, bytes) in registers.zip(data.chunks_exact_mut(4)) {
            let first = register.saturating_mul(32);
            let entries = self.entries.iter().skip(first).take(32);
            let bits =
                entries.rev().fold(0_u32, |bits, entry| bits << 1 | u32::from(entry.is_pending()));
            bytes.copy_from_slice(&bits.to_le_bytes());
        }
    }

    /// The guest has written the message control register, which is `control` now.
    pub(super) fn control_written(&self, control: MsixControl) -> Written {
        if !control.lets_through() {
            for entry in &self.entries {
                entry.apply(Event::Close);
            }
        }
        // Always: another vCPU may have changed it as well, and the last look at it must come after both.
        Written::Wait(self.work.request())
    }

    /// Routes and opens all vectors that are to be open. Called by the attendant's thread only.
    pub(super) fn reconcile(&self, control: impl Fn() -> Option<MsixControl>) {
        for entry in &self.entries {
            match entry.open(&control) {
                Ok(effect) => self.carry_out(entry, effect),
                Err(error) => {
                    // Relaxed: a statistic.
                    self.routes_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "an MSI-X vector cannot be routed");
                }
            }
        }
    }

    /// Closes all vectors and gives their routes back: the function is gone. Called by the attendant's thread only.
    pub(super) fn retire(&self) {
        for entry in &self.entries {
            entry.apply(Event::Close);
            entry.unroute();
        }
    }

    /// The entry that a register of the table belongs to.
    fn entry(&self, register: usize) -> Option<&Entry> {
        self.entries.get(register / 4)
    }

    // Relaxed: statistics.
    fn carry_out(&self, entry: &Entry, effect: Effect) {
        match effect {
            Effect::Deliver => {
                self.raised.fetch_add(1, Ordering::Relaxed);
                entry.raise();
            }
            Effect::Pended => {
                self.pended.fetch_add(1, Ordering::Relaxed);
            }
            Effect::Nothing | Effect::Ask => {}
        }
    }
}

/// The 32-bit registers that an access covers, if it is one that is defined.
fn registers(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let defined = matches!(len, 4 | 8) && offset.is_multiple_of(len as u64);
    let first = usize::try_from(offset / 4).ok()?;
    defined.then(|| first..first + len / 4)
}

impl CounterSource for Msix {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: statistics.
        vec![
            ("interrupts_raised", self.raised.load(Ordering::Relaxed)),
            ("interrupts_pended", self.pended.load(Ordering::Relaxed)),
            ("routes_failed", self.routes_failed.load(Ordering::Relaxed)),
        ]
    }
}
