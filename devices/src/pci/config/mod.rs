//! A function's configuration space: the first 256 bytes, as words that any vCPU may read and write at any time.
//!
//! ```text
//!   write(offset, bytes) ─▶ for each 32-bit register: CAS of (old & !mask | new & mask)
//!                                              mask = bytes of the access & bits that can be written
//! ```
//!
//! Invariants:
//! - Bits outside of a register's write mask never change. That is all there is to BAR sizing (PCI Local Bus
//!   3.0, 6.2.5.1): of all ones, a BAR keeps the bits that its size leaves to the address.
//! - A register changes by compare-and-swap: two writes to different bytes of one both take effect.
//! - A register is read and written whole; an access over several is one access to each, lowest first.
//!
//! What a write means for the world outside (where BARs answer, which vectors are open) is not decided here:
//! the PCI attendant looks at the registers and makes the world agree.
mod bar;
mod builder;
mod saved;
#[cfg(test)]
mod tests;

pub use bar::{BarSpace, BarState};
pub use builder::{ConfigBuilder, ConfigError, Identity};
pub use saved::SavedConfig;

use super::function::BarIndex;
use super::msix::MsixControl;
use crate::sync::atomic::{AtomicU32, Ordering};
use bar::BarLayout;

/// Bytes of the space; what lies above, in the extended space of PCI Express, reads as zeros.
pub const CONFIG_LEN: u16 = 256;
/// BARs that a function has at most.
pub const BARS: u8 = 6;

const WORDS: usize = CONFIG_LEN as usize / 4;
/// Offset of the command register (PCI Local Bus 3.0, 6.2.2).
const COMMAND: u16 = 0x04;
/// Offset of the first BAR.
const FIRST_BAR: u16 = 0x10;
const COMMAND_IO: u32 = 1 << 0;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_BUS_MASTER: u32 = 1 << 2;
const COMMAND_INTX_DISABLE: u32 = 1 << 10;
/// Offset of the message control register in the MSI-X capability, which is the upper half of its first word.
const MSIX_CONTROL: u16 = 2;

/// The configuration space of one function.
#[derive(Debug)]
pub struct ConfigSpace {
    words: [AtomicU32; WORDS],
    writable: [u32; WORDS],
    bars: [Option<BarLayout>; BARS as usize],
    /// Where the MSI-X capability is.
    msix: Option<u8>,
}

impl ConfigSpace {
    /// Reads `data.len()` bytes from `offset`; beyond the end are zeros.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        let mut rest = data;
        let mut at = usize::from(offset);
        while !rest.is_empty() {
            let within = at % 4;
            let len = rest.len().min(4 - within);
            let (now, later) = rest.split_at_mut(len);
            let word = self.words.get(at / 4).map_or(0, load);
            now.copy_from_slice(&word.to_le_bytes()[within..within + len]);
            at += len;
            rest = later;
        }
    }

    /// Writes `data` at `offset`, as far as it can be written.
    pub fn write(&self, offset: u16, data: &[u8]) {
        let mut rest = data;
        let mut at = usize::from(offset);
        while !rest.is_empty() {
            let within = at % 4;
            let (now, later) = rest.split_at(rest.len().min(4 - within));
            let (mut value, mut mask) = ([0; 4], [0; 4]);
            value[within..within + now.len()].copy_from_slice(now);
            mask[within..within + now.len()].fill(0xFF);
            if let (Some(word), Some(writable)) =
                (self.words.get(at / 4), self.writable.get(at / 4))
            {
                merge(word, u32::from_le_bytes(value), u32::from_le_bytes(mask) & writable);
            }
            at += now.len();
            rest = later;
        }
    }

    /// A BAR as the registers have it now; `None` where the function has none, which is also the upper half of
    /// a 64-bit one. Its halves are two registers: read while the guest writes them, they may not belong together.
    pub fn bar(&self, index: BarIndex) -> Option<BarState> {
        self.bar_in(index, |place| self.words.get(place).map_or(0, load))
    }

    /// A BAR as it is with these registers.
    fn bar_in(&self, index: BarIndex, word: impl Fn(usize) -> u32) -> Option<BarState> {
        let layout = (*self.bars.get(usize::from(index.0))?)?;
        let place = bar_word(index);
        let low = word(place);
        let high = match layout.space {
            BarSpace::Memory64 => word(place + 1),
            BarSpace::Memory32 | BarSpace::Io => 0,
        };
        let decodes = match layout.space {
            BarSpace::Io => COMMAND_IO,
            BarSpace::Memory32 | BarSpace::Memory64 => COMMAND_MEMORY,
        };
        Some(BarState {
            gpa: layout.address(low, high),
            len: layout.len,
            space: layout.space,
            enabled: word(usize::from(COMMAND) / 4) & decodes != 0,
        })
    }

    /// The function's BARs by ascending index.
    pub fn bars(&self) -> impl Iterator<Item = (BarIndex, BarState)> + '_ {
        (0..BARS).map(BarIndex).filter_map(|index| Some((index, self.bar(index)?)))
    }

    /// Puts an address into a BAR, as firmware does. Bits that its size does not leave to the address are lost.
    pub fn set_bar(&self, index: BarIndex, gpa: u64) {
        if self.bars.get(usize::from(index.0)).is_some_and(Option::is_some) {
            let offset = FIRST_BAR + 4 * u16::from(index.0);
            // The upper half of a 32-bit BAR is another register.
            let len = match self.bar(index).map(|bar| bar.space) {
                Some(BarSpace::Memory64) => 8,
                _ => 4,
            };
            self.write(offset, &gpa.to_le_bytes()[..len]);
        }
    }

    /// Whether the guest lets the function access memory by itself (bus master enable).
    pub fn is_bus_master(&self) -> bool {
        self.command() & COMMAND_BUS_MASTER != 0
    }

    /// The message control register, if there is an MSI-X capability.
    pub fn msix_control(&self) -> Option<MsixControl> {
        let word = self.words.get(usize::from(self.msix?) / 4).map(load)?;
        Some(MsixControl::of_register(word >> 16))
    }

    /// Whether an access to these bytes may change where BARs answer.
    pub(super) fn decides_decoding(offset: u16, len: usize) -> bool {
        covers(offset, len, COMMAND, 2) || covers(offset, len, FIRST_BAR, 4 * u16::from(BARS))
    }

    /// Whether an access to these bytes may change the MSI-X message control register.
    pub(super) fn decides_msix(&self, offset: u16, len: usize) -> bool {
        self.msix.is_some_and(|at| covers(offset, len, u16::from(at) + MSIX_CONTROL, 2))
    }

    fn command(&self) -> u32 {
        self.words.get(usize::from(COMMAND) / 4).map_or(0, load)
    }
}

/// The place of a BAR's register.
fn bar_word(index: BarIndex) -> usize {
    usize::from(FIRST_BAR) / 4 + usize::from(index.0)
}

/// Acquire: pairs with the release in `merge`; what the writer wrote before is seen, too.
fn load(word: &AtomicU32) -> u32 {
    word.load(Ordering::Acquire)
}

/// Replaces the bits of `mask`.
fn merge(word: &AtomicU32, value: u32, mask: u32) {
    if mask == 0 {
        return;
    }
    let mut now = word.load(Ordering::Relaxed);
    loop {
        let next = now & !mask | value & mask;
        // Release: pairs with the acquire in `load`. Relaxed on failure: only the value is used.
        match word.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => now = seen,
        }
    }
}

/// Whether two runs of bytes have one in common.
fn covers(offset: u16, len: usize, first: u16, count: u16) -> bool {
    let (offset, first) = (usize::from(offset), usize::from(first));
    offset < first + usize::from(count) && first < offset.saturating_add(len)
}
